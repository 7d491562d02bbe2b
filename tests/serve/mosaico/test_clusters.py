"""Clusters of matching rows, exact at every border, made while they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gapless
from gapless.model.glob import glob_match
from gapless.serve.mosaico.clusters import clusters, overlaps
from gapless.serve.mosaico.topic_name_glob import patterns, with_digits
from gapless.store.reader import TopicReader

Spans = list[tuple[int, int]]
ROWS = 200_000


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TopicReader:
    """Return a topic of 200,000 rows, more than one batch, whose value is the row's number."""
    root: Path = tmp_path_factory.mktemp("store")
    with gapless.connect(root) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=pa.schema([("v", pa.int64())]))
            rows = np.arange(ROWS)
            topic.push_columns(rows * 10, {"v": rows})
        return client.sequence_handler("s").topic("t").reader


@pytest.fixture
def batches(reader: TopicReader, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the rows of each batch that is read."""
    read: list[int] = []
    scan = reader.scan

    def counted(*words: Any) -> Iterator[pa.RecordBatch]:
        for batch in scan(*words):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(reader, "scan", counted)
    return read


def stays() -> bool:
    """Say that the caller is still there."""
    return False


def found(reader: TopicReader, test: dict[str, Any], gap_ns: int, *window: int | None) -> Spans:
    """Return all clusters of a topic."""
    return list(clusters(reader, test, gap_ns, stays, *window))


def leaving_after(looks: int) -> Callable[[], bool]:
    """Return a ``gone`` that is true from the given look on."""
    count = itertools.count(1)
    return lambda: next(count) >= looks


def _by_hand(times: list[int], gap_ns: int) -> Spans:
    joined: Spans = []
    for time_ns in times:
        if joined and (not gap_ns or time_ns - joined[-1][1] <= gap_ns):
            joined[-1] = (joined[-1][0], time_ns)
        else:
            joined.append((time_ns, time_ns))
    return joined


@pytest.mark.parametrize("gap_ns", [0, 1, 9, 10, 11, 655_350, 655_360, 10**12])
def test_clusters_are_those_of_a_loop_over_rows(reader: TopicReader, gap_ns: int) -> None:
    """Also where a cluster goes over the border of a batch."""
    test: dict[str, Any] = {"Unmodeled.v": {"$outside": [65_000, 66_000]}}
    matching = [n * 10 for n in range(ROWS) if n < 65_000 or n > 66_000]
    assert found(reader, test, gap_ns) == _by_hand(matching, gap_ns)


def test_a_range_includes_both_of_its_ends(reader: TopicReader) -> None:
    """The SDK's ranges do, its windows do not."""
    assert found(reader, {}, 10, 100, 200) == [(100, 200)]
    assert found(reader, {"Unmodeled.v": {"$eq": 5}}, 0, 51) == []
    assert found(reader, {}, 0, None, 2**63 - 1) == [(0, 1_999_990)]


def test_conditions_of_another_type_are_refused(reader: TopicReader) -> None:
    """They could not hold in any row of the topic; that is told before anything is read."""
    with pytest.raises(pa.ArrowInvalid, match="Unmodeled"):
        clusters(reader, {"IMU.v": {"$eq": 1}}, 0, stays)


def test_the_first_clusters_come_while_the_rows_are_read(reader: TopicReader, batches: list[int]) -> None:
    """A cluster for each row takes no more in memory than one for all: nothing is read ahead of who asks."""
    spans = clusters(reader, {}, 1, stays)
    assert batches == []
    first = list(itertools.islice(spans, 1_000))
    assert first == [(n * 10, n * 10) for n in range(1_000)]
    assert len(batches) == 1
    assert batches[0] < ROWS
    assert sum(1 for _ in spans) == ROWS - 1_000
    assert sum(batches) == ROWS


@pytest.mark.parametrize("gap_ns", [0, 1])
def test_nothing_more_is_read_for_a_caller_who_left(
    reader: TopicReader, batches: list[int], gap_ns: int
) -> None:
    """Also where no row matches; what was found so far is no answer."""
    conditions: list[dict[str, Any]] = [{}, {"Unmodeled.v": {"$lt": 0}}]
    for test in conditions:
        batches.clear()
        with pytest.raises(pa.ArrowCancelled):
            list(clusters(reader, test, gap_ns, leaving_after(2)))
        assert len(batches) == 2


def test_overlaps_read_no_further_than_the_times_they_tell(reader: TopicReader, batches: list[int]) -> None:
    """Three passes over one topic at once: none is ahead of the others, and the shortest ends all."""
    early = {"Unmodeled.v": {"$lt": 10}}
    spans = overlaps([clusters(reader, {}, 1, stays) for _ in range(3)], 0)
    assert list(itertools.islice(spans, 1_000)) == [(n * 10, n * 10) for n in range(1_000)]
    assert len(batches) == 3
    batches.clear()
    assert len(list(overlaps([clusters(reader, {}, 1, stays), clusters(reader, early, 1, stays)], 0))) == 10
    one_pass = -(-ROWS // batches[0])
    assert len(batches) == one_pass + 1


def test_times_at_the_ends_of_int64_do_not_overflow(tmp_path: Path) -> None:
    """The gap between them is more than a signed number holds."""
    with gapless.connect(tmp_path) as client:
        low, high = 1 - 2**63, 2**63 - 1
        with client.sequence_create("s") as seq:
            seq.topic_create("t", schema=pa.schema([("v", pa.int8())])).push_columns(
                np.array([low, high]), {"v": np.array([1, 1], np.int8)}
            )
        topic_reader = client.sequence_handler("s").topic("t").reader
        assert found(topic_reader, {}, 5) == [(low, low), (high, high)]
        assert found(topic_reader, {}, 0) == [(low, high)]


def test_overlaps_are_the_times_near_every_set() -> None:
    """The tolerance widens each cluster on both sides."""
    sets = [[(0, 10), (100, 110)], [(5, 20), (105, 300)]]
    assert list(overlaps(sets, 0)) == [(5, 10), (105, 110)]
    assert list(overlaps([[(0, 10)], [(14, 20)]], 1)) == []
    assert list(overlaps([[(0, 10)], [(14, 20)]], 2)) == [(12, 12)]
    assert list(overlaps([[(0, 10)], []], 5)) == []


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=12, unique=True), min_size=2, max_size=4),
    st.integers(0, 4),
)
def test_overlaps_are_those_of_a_loop_over_times(times: list[list[int]], tolerance_ns: int) -> None:
    """Each time is in an overlap exactly when every set has a cluster near it."""
    sets = [_by_hand(sorted(one), 1) for one in times]
    told = list(overlaps(sets, tolerance_ns))
    assert told == sorted(told)
    within = {t for start, end in told for t in range(start, end + 1)}
    for t in range(-5, 46):
        near = all(any(a - tolerance_ns <= t <= b + tolerance_ns for a, b in spans) for spans in sets)
        assert (t in within) == near


@given(st.text("*?[]!/ab", min_size=1, max_size=6), st.text("ab/*", min_size=1, max_size=4))
def test_patterns_mean_the_same_names_with_and_without_the_slash(pattern: str, name: str) -> None:
    """A pattern of the SDK is over names that begin with one."""
    expected = glob_match(pattern, f"/{name}")
    found = any(glob_match(one, name) if one else not name for one in patterns(pattern))
    if pattern[0] in "*?/[" or expected:
        assert found == expected


@pytest.mark.parametrize(
    ("pattern", "ours"),
    [("a#", "a[0-9]"), ("[#]", "[#]"), ("[a]#", "[a][0-9]"), ("[#", "[[0-9]"), ("x", "x"), ("[]#]", "[]#]")],
)
def test_a_hash_outside_of_brackets_is_a_digit(pattern: str, ours: str) -> None:
    """Inside it stands for itself."""
    assert with_digits(pattern) == ours
