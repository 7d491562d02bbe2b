"""What the server still does for a caller who has left, and how much it makes before anyone takes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight

import gapless
from gapless.catalog.catalog import Catalog
from gapless.serve.native import reading_turns
from gapless.store.reader import TopicReader

from .caller import Caller
from .conftest import Serve
from .test_door import DEADLINE_S, until

ROWS = 400_000
NEVER = {"Unmodeled.v": {"$lt": 0}}


class Endless:
    """Reads the first batch of a topic again and again until it is told to stop, or left alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches = 0
        self.stop = threading.Event()
        self.ended = threading.Event()
        self._scan = TopicReader.scan

        def scan(reader: TopicReader, *words: Any, **more: Any) -> Iterator[pa.RecordBatch]:
            return self.read(reader, *words, **more)  # a plain function, which becomes a method

        monkeypatch.setattr(TopicReader, "scan", scan)

    def read(self, reader: TopicReader, *words: Any, **more: Any) -> Iterator[pa.RecordBatch]:
        """Yield the batch as long as somebody asks."""
        batch = next(self._scan(reader, *words, **more))
        try:
            while not self.stop.wait(0.001):
                self.batches += 1
                yield batch
        finally:
            self.ended.set()


@pytest.fixture
def long(root: Path) -> None:
    """Record a topic whose rows are each a cluster of their own."""
    with gapless.connect(root) as client, client.sequence_create("long") as sequence:
        rows = np.arange(ROWS)
        sequence.topic_create("t", schema=pa.schema([("v", pa.int64())])).push_columns(rows * 10, {"v": rows})


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    """Yield a topic that never ends; it does when the test has."""
    found = Endless(monkeypatch)
    yield found
    found.stop.set()


def _topic(gap_ns: int, ontology: dict[str, Any]) -> dict[str, Any]:
    return {"locator": "long/t", "clustering_dt_ns": gap_ns, "ontology": ontology}


def give_up(caller: Caller, endless: Endless, ask: Callable[[], object]) -> None:
    """Ask, and wait with more patience each time until the server has begun before the caller leaves."""
    for patience_s in (1.0, 10.0, DEADLINE_S):
        caller.options = flight.FlightCallOptions(timeout=patience_s)
        with pytest.raises(flight.FlightTimedOutError):
            ask()
        if endless.batches:
            return


ASKED: dict[str, dict[str, Any]] = {
    "topic_filter_clusterize": {**_topic(1, NEVER), "timestamp_range": None},
    "topic_filter_intersect": {"topics": [_topic(1, {}), _topic(1, NEVER)], "intersect_dt_ns": 0},
}


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("action", ASKED)
def test_a_search_that_finds_nothing_ends_with_its_caller(
    serve: Serve, endless: Endless, action: str
) -> None:
    """No answer is on the way that could fail, so the server looks whether anybody waits."""
    caller = serve()
    give_up(caller, endless, lambda: caller.ask(action, **ASKED[action]))
    assert endless.ended.wait(DEADLINE_S)
    assert endless.batches > 0
    until(lambda: caller.server.traffic.calls == 0)


@pytest.mark.usefixtures("long")
def test_a_window_is_counted_for_nobody_no_further(serve: Serve, endless: Endless) -> None:
    """Flight information about a window reads times, and ends with its caller."""
    caller = serve()
    give_up(caller, endless, lambda: caller.info("long/t", timestamp_ns_start=15))
    assert endless.ended.wait(DEADLINE_S)


@pytest.mark.usefixtures("long")
def test_clusters_are_on_their_way_before_the_topic_is_read(serve: Serve, endless: Endless) -> None:
    """Of a topic without an end the first ones come, numbered; what nobody takes is not made."""
    caller = serve()
    words = protocol_bytes({**_topic(1, {}), "timestamp_range": None})
    answers = caller.flight.do_action(flight.Action("topic_filter_clusterize", words), caller.options)
    first = [next(answers).body.to_pybytes() for _ in range(100)]
    assert len(set(first)) == 100
    del answers
    assert endless.ended.wait(DEADLINE_S)


def protocol_bytes(document: dict[str, Any]) -> bytes:
    """Return a request's body."""
    return json.dumps(document).encode()


def test_more_topics_than_are_read_together_are_refused(serve: Serve) -> None:
    """Before any of them is opened."""
    with pytest.raises(pa.ArrowInvalid, match="from 2 to"):
        serve().ask("topic_filter_intersect", topics=[_topic(0, {})] * 129, intersect_dt_ns=0)


@pytest.mark.parametrize("at_once", [1, 2, 5, 1_000])
def test_an_answer_made_in_turns_is_the_same(
    root: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """All sequences in order, each once; the catalog is asked about some of them at a time."""
    with gapless.connect(root) as client:
        for number in range(5):
            with client.sequence_create(f"s{number}") as sequence:
                sequence.log("t", float(number))
    asked: list[int | None] = []
    query = Catalog.query

    def counted(catalog: Catalog, *words: Any, **more: Any) -> Any:
        asked.append(more.get("limit"))
        return query(catalog, *words, **more)

    monkeypatch.setattr(reading_turns, "_AT_ONCE", at_once)
    monkeypatch.setattr(Catalog, "query", counted)
    [found] = serve().ask("query", ontology={"Unmodeled.value": {"$geq": 0}})
    assert [item["sequence"] for item in found["items"]] == [f"s{number}" for number in range(5)]
    assert asked == [at_once] * -(-5 // at_once)
