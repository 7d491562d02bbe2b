"""Reading for a caller who may leave: how much is made at one time, and when it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import flight
from tests.client.remote.parity_store import served

import gapless
from gapless import Field
from gapless.catalog.catalog import Catalog
from gapless.client.remote import reading
from gapless.client.remote.row_filter import filter_to_json
from gapless.errors import QueryRefused
from gapless.model.expression import Expression, to_json, without
from gapless.serve.native import reading_turns
from gapless.serve.native.reading_turns import in_turns
from gapless.serve.native.reading_watched import WatchedReader
from gapless.store.part_reader import Part

DEADLINE_S = 60.0
SEQUENCES = 5
ROWS = 300_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of some sequences of ten rows each and a long one that has other columns."""
    folder = tmp_path_factory.mktemp("store")
    with gapless.connect(folder) as client:
        for number in range(SEQUENCES):
            with client.sequence_create(f"s{number}") as sequence:
                topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
                topic.push_columns(np.arange(10), {"v": np.arange(10) % 2})
        with client.sequence_create("long") as sequence:
            topic = sequence.topic_create("t", schema=pa.schema([("w", pa.int64())]))
            topic.push_columns(np.zeros(ROWS, np.int64), {"w": np.arange(ROWS)})
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Return a list of the limits with which a catalog is asked."""
    limits: list[int | None] = []
    query = Catalog.query

    def counted(catalog: Catalog, *words: Any, **more: Any) -> Any:
        found = query(catalog, *words, **more)
        limits.append(more.get("limit"))
        return found

    monkeypatch.setattr(Catalog, "query", counted)
    return limits


# -- rows ------------------------------------------------------------------------------------------


class EndlessGroups:
    """The first row group of a part again and again, until somebody stops it or nobody asks any more."""

    def __init__(self) -> None:
        self.read = 0
        self.stop = threading.Event()
        self.ended = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            while not self.stop.wait(0.001):
                self.read += 1
                yield 0
        finally:
            self.ended.set()


def test_a_filter_that_no_row_passes_ends_with_its_caller(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch is on the way that could fail; between two row groups the server looks who is there."""
    groups = EndlessGroups()
    ticket = {
        "gapless": "scan", "name": "long", "topic": "t",
        "filter": filter_to_json(pc.field("w") < 0),
    }  # fmt: skip
    with served(root) as (server, _), flight.connect(server.url) as caller:
        monkeypatch.setattr(Part, "row_groups", lambda *_: groups)
        try:
            for patience_s in (1.0, 10.0, DEADLINE_S):  # more, if the server had not begun
                stream = flight.FlightCallOptions(timeout=patience_s)
                with pytest.raises(flight.FlightTimedOutError):
                    caller.do_get(flight.Ticket(json.dumps(ticket).encode()), stream).read_all()
                if groups.read > 1:
                    break
            assert groups.ended.wait(DEADLINE_S)
            assert groups.read > 1
            give_up = time.monotonic() + DEADLINE_S
            while server.traffic.calls:
                assert time.monotonic() < give_up
                time.sleep(0.02)
        finally:
            groups.stop.set()


def test_a_watched_topic_reads_as_the_one_it_watches(root: Path) -> None:
    """The same rows while the caller is there; nothing of the next row group when they are not."""
    with gapless.connect(root) as client:
        reader = client.sequence_handler("long").topic("t").reader
    words: dict[str, Any] = {"with_seq": True, "filter": pc.field("w") > 5, "batch_rows": 1_000}
    looks = 0

    def gone() -> bool:
        nonlocal looks
        looks += 1
        return looks > 2

    assert list(WatchedReader(reader, lambda: False).scan(**words)) == list(reader.scan(**words))
    [part] = reader.parts()
    assert len(part.group_spans) > 3
    with pytest.raises(pa.ArrowCancelled):
        list(WatchedReader(reader, gone).scan(**words))
    assert looks == 3


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 2, 5, 1_000])
@pytest.mark.parametrize("limit", [None, 1, 4, 5, 9])
@pytest.mark.parametrize("order", ["name", "-created"])
def test_an_answer_in_turns_is_that_of_the_folder(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[int | None],
    at_once: int,
    limit: int | None,
    order: str,
) -> None:
    """Names, order, spans and where to go on; no turn finds more sequences than it may."""
    monkeypatch.setattr(reading_turns, "_AT_ONCE", at_once)
    wanted = Field("t", "v").eq(1)
    with gapless.connect(root) as client:
        whole = client.query(wanted, order=order, limit=limit)
        asked.clear()
        turns = [
            ([(i.name, [t.spans for t in i.topics]) for i in turn], turn.next_cursor)
            for turn in in_turns(client, wanted, lambda: False, runs=True, order=order, limit=limit)
        ]
    assert [i for items, _ in turns for i in items] == [(i.name, [t.spans for t in i.topics]) for i in whole]
    assert turns[-1][1] == whole.next_cursor
    assert all(asking is not None and asking <= at_once for asking in asked)
    assert all(len(items) <= at_once for items, _ in turns)


def test_an_answer_s_pages_come_turn_by_turn(
    root: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int | None]
) -> None:
    """One page at least for each turn, over the network too, and one answer in the end."""
    monkeypatch.setattr(reading_turns, "_AT_ONCE", 2)
    wanted = Field("t", "v").eq(1)
    words = json.dumps({"expression": to_json(wanted), "topics": True}).encode()
    with served(root) as (server, client), flight.connect(server.url) as caller:
        answers = caller.do_action(flight.Action(reading.QUERY, words))
        pages = [json.loads(answer.body.to_pybytes()) for answer in answers]
        assert [len(page["items"]) for page in pages] == [2, 2, 1]
        assert asked == [2, 2, 2]
        answer = client.query(wanted)
        assert answer.names == [f"s{number}" for number in range(SEQUENCES)]
        assert answer.next_cursor is None
        assert [topic.rows for item in answer for topic in item.topics] == [5] * SEQUENCES
        with pytest.raises(QueryRefused):
            client.query(wanted, limit=0)


def test_no_further_sequences_are_looked_into_for_a_caller_who_left(
    root: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int | None]
) -> None:
    """Between two turns somebody asks whether anyone waits."""
    monkeypatch.setattr(reading_turns, "_AT_ONCE", 2)
    with gapless.connect(root) as client:
        turns = in_turns(client, Field("t", "v").eq(1), lambda: len(asked) > 0, runs=True)
        assert len(next(turns)) == 2
        with pytest.raises(pa.ArrowCancelled):
            next(turns)
    assert len(asked) == 1


@pytest.mark.parametrize("wanted", [gapless.Sequence.Q.name.match("*"), without(Field("t", "v").gt(1))])
def test_what_costs_as_much_in_each_turn_is_answered_in_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int | None], wanted: Expression
) -> None:
    """A query about names alone, and one that leaves out what another query finds."""
    monkeypatch.setattr(reading_turns, "_AT_ONCE", 1)
    with gapless.connect(root) as client:
        [turn] = in_turns(client, wanted, lambda: False, runs=True)
        assert turn.names
    assert asked == [None]
