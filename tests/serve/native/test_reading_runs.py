"""Runs of rows on a server: of an answer without them none is kept, of any other not without bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.client.remote.parity_store import served

import gapless
from gapless import Field
from gapless.catalog.runs import RunBuilder
from gapless.errors import LimitReached
from gapless.serve.native import reading_runs
from gapless.serve.native.reading_runs import AnyRun, BoundedRuns
from gapless.serve.native.reading_turns import in_turns

ROWS = 200_000


def stays() -> bool:
    """Say that the caller is still there."""
    return False


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of a topic of which every other row is 1."""
    folder = tmp_path_factory.mktemp("store")
    with gapless.connect(folder) as client, client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
        topic.push_columns(np.arange(ROWS), {"v": np.arange(ROWS) % 2})
    return folder


def test_one_run_stands_for_all(root: Path) -> None:
    """Where only the topics are wanted, an answer about every row holds no more than one about a single one."""
    wanted = Field("t", "v").eq(1)
    with gapless.connect(root) as client:
        [one] = in_turns(client, wanted, stays, runs=False)
        [all_runs] = in_turns(client, wanted, stays, runs=True)
        [none] = in_turns(client, Field("t", "v").eq(2), stays, runs=False)
        assert one[0].topics[0].spans == [(1, 1)]
        assert len(all_runs[0].topics[0].spans) == ROWS // 2
        assert none.names == []


def test_a_builder_of_one_run_tells_what_any_other_does() -> None:
    """Whether rows match, in whatever order they come."""
    for masks in ([], [0, 0], [0, 1, 1], [1, 0], [1, 1]):
        some, each = AnyRun(stays), RunBuilder()
        for n, value in enumerate(masks):
            times = np.arange(n * 4, n * 4 + 4)
            for builder in (some, each):
                builder.skip(1)
                builder.mask(np.array([value, 0, value, 0], np.bool_), times)
                if value:
                    builder.take(1, 0, 0)
        assert (len(some.runs()) > 0) == (len(each.runs()) > 0)
        assert len(some.runs()) <= 1


def test_more_runs_than_a_server_holds_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it; fewer of them, and rows in one run, are answered."""
    monkeypatch.setattr(reading_runs, "MOST_RUNS", 1_000)
    with served(root) as (_, client):
        with pytest.raises(LimitReached, match="separate runs"):
            client.query(Field("t", "v").eq(1))
        assert client.query(Field("t", "v").geq(0))[0].topics[0].rows == ROWS
        assert client.query("name == 's'").names == ["s"]


def test_all_topics_of_a_turn_count_together() -> None:
    """So that many topics do not hold what one may not."""
    make = BoundedRuns(stays)
    for builder in (make(), make()):
        builder.mask(np.array([1, 0, 1], np.bool_), np.arange(3))
    assert make._held == 4


def test_no_row_is_taken_for_a_caller_who_left() -> None:
    """Neither of those whose rows must be looked at nor of those that statistics decide."""
    gone = BoundedRuns(lambda: True)()
    with pytest.raises(pa.ArrowCancelled):
        gone.skip(1)
    with pytest.raises(pa.ArrowCancelled):
        gone.take(1, 0, 0)
    with pytest.raises(pa.ArrowCancelled):
        AnyRun(lambda: True).mask(np.ones(1, np.bool_), np.zeros(1, np.int64))
