"""Routing: each document to its run, in any order, and nothing kept of a run that has stopped."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.writer.runs import Doc, run_of

from gapless.bluesky.router import RunRouter
from gapless.errors import DocumentRefused

Got = dict[str, list[tuple[str, Doc]]]


class Collector:
    """A router with a callback that collects by run, and lists of what was late or unroutable."""

    def __init__(self, **options: Any) -> None:
        self.got: Got = {}
        self.late: list[tuple[str, str, Doc]] = []
        self.odd: list[tuple[str, Doc, str]] = []
        self.router = RunRouter(
            [self._factory],
            on_unroutable=lambda name, doc, reason: self.odd.append((name, dict(doc), reason)),
            on_late=lambda uid, name, doc: self.late.append((uid, name, dict(doc))),
            **options,
        )

    def _factory(self, name: str, doc: Any) -> tuple[list[Any], list[Any]]:
        assert name == "start"
        mine = self.got[doc["uid"]] = []
        return [lambda name, doc: mine.append((name, doc))], []

    def feed(self, documents: Any) -> None:
        """Route each document."""
        for name, doc in documents:
            self.router(name, doc)


def test_interleaved_runs_are_kept_apart_in_their_order() -> None:
    """Interleaved runs are kept apart in their order."""
    runs = [run_of(events=5) for _ in range(4)]
    collector = Collector()
    for documents in itertools.zip_longest(*runs):
        collector.feed(document for document in documents if document is not None)
    assert collector.got == {run[0][1]["uid"]: run for run in runs}
    assert collector.odd == []
    assert collector.late == []


def test_nothing_is_kept_of_ten_thousand_runs() -> None:
    """Nothing is kept of ten thousand runs."""
    router = RunRouter([lambda _name, _doc: ([lambda _name, _doc: None], [])])
    for _ in range(10_000):
        documents = run_of(events=1)
        resource = {"uid": documents[0][1]["uid"] + "-r", "run_start": documents[0][1]["uid"], "spec": "X"}
        for name, doc in [*documents[:2], ("resource", resource), *documents[2:]]:
            router(name, doc)
    assert router.open_runs == []
    assert router.parked == 0
    assert not router._by_descriptor
    assert not router._run_of
    assert not router._loose
    assert len(router._closed) <= 1_000
    assert len(router._closed_of) <= 2_000


@pytest.mark.parametrize("seed", range(20))
def test_any_order_ends_in_the_same_documents(seed: int) -> None:
    """Any order ends in the same documents."""
    start, descriptor, *events, stop = run_of(events=3)
    middle = [descriptor, *events]
    random.Random(seed).shuffle(middle)
    collector = Collector()
    collector.feed([*middle, start, stop])
    found = collector.got[start[1]["uid"]]
    assert found[0] == start
    assert found[-1] == stop
    assert found.index(descriptor) < min(found.index(event) for event in events)
    assert len(found) == 6
    assert collector.router.parked == 0
    assert collector.router.parked_total >= 4


def test_a_stop_that_overtook_its_start_comes_last() -> None:
    """A stop that overtook its start comes last."""
    start, descriptor, first, second, stop = run_of(events=2)
    collector = Collector()
    collector.feed([stop, first, descriptor, second, start])
    assert [name for name, _ in collector.got[start[1]["uid"]]][-1] == "stop"
    assert collector.router.open_runs == []


def test_of_too_many_parked_documents_the_oldest_go() -> None:
    """Of too many parked documents the oldest go."""
    collector = Collector(max_parked=3)
    events = [event_document({"uid": "nowhere"}, n, {"x": 1.0}) for n in range(1, 6)]
    collector.feed(("event", event) for event in events)
    assert [doc["seq_num"] for _, doc, _ in collector.odd] == [1, 2]
    assert collector.router.parked == 3
    collector.router.close()
    assert [doc["seq_num"] for _, doc, _ in collector.odd] == [1, 2, 3, 4, 5]
    assert collector.router.parked == 0


def test_documents_of_a_stopped_run_are_late() -> None:
    """Documents of a stopped run are late."""
    documents = run_of(events=2)
    start, descriptor = documents[0][1], documents[1][1]
    collector = Collector()
    collector.feed(documents)
    event = event_document(descriptor, 3, {"x": 3.0})
    other = descriptor_document(start, {"y": data_key()}, name="other")
    collector.feed([("event", event), ("stop", documents[-1][1])])
    collector.feed([("event", event_document(other, 1, {"y": 1.0})), ("descriptor", other)])
    assert [name for _, name, _ in collector.late] == ["event", "stop", "descriptor", "event"]
    assert {uid for uid, _, _ in collector.late} == {start["uid"]}
    assert collector.router.parked == 0


def test_the_same_start_again_is_counted_and_another_refused() -> None:
    """The same start again is counted and another refused."""
    documents = run_of(events=2)
    start = documents[0][1]
    collector = Collector()
    collector.feed([documents[0], ("start", dict(start)), ("start", {**start, "plan_name": "scan"})])
    collector.feed(documents[1:])
    collector.feed([("start", dict(start)), ("start", {**start, "scan_id": 9})])
    assert collector.router.repeated_starts == 2
    assert [reason for _, _, reason in collector.odd] == ["another start document has the same uid"] * 2
    assert collector.got[start["uid"]] == documents


def test_resources_find_their_run_with_and_without_naming_it() -> None:
    """Resources find their run with and without naming it."""
    one, two = run_of(events=2), run_of(events=2)
    owned = {"uid": "owned", "run_start": one[0][1]["uid"], "spec": "X"}
    loose = {"uid": "loose", "spec": "X"}
    collector = Collector()
    collector.feed([one[0], ("resource", {"uid": "alone", "spec": "X"}), two[0]])
    collector.feed([("resource", owned), ("resource", loose)])
    for resource in ("alone", "owned", "loose"):
        collector.feed([("datum", {"datum_id": f"{resource}/0", "resource": resource, "datum_kwargs": {}})])
    first, second = (
        [doc.get("uid", doc.get("datum_id")) for name, doc in collector.got[run[0][1]["uid"]]][1:]
        for run in (one, two)
    )
    assert first == ["alone", "owned", "loose", "alone/0", "owned/0", "loose/0"]
    assert second == ["loose", "loose/0"]


def test_stream_datums_wait_for_their_stream_resource() -> None:
    """Stream datums wait for their stream resource."""
    start = start_document()
    collector = Collector()
    datum = {"uid": "d/0", "stream_resource": "d", "descriptor": "x"}
    collector.feed([("start", start), ("stream_datum", datum)])
    collector.feed([("stream_resource", {"uid": "d", "run_start": start["uid"], "data_key": "img"})])
    assert [name for name, _ in collector.got[start["uid"]]] == ["start", "stream_resource", "stream_datum"]


def test_subfactories_get_start_descriptor_events_and_stop_of_their_stream() -> None:
    """Subfactories get start descriptor events and stop of their stream."""
    start = start_document()
    ours, other = (descriptor_document(start, {"x": data_key()}, name=name) for name in ("ours", "other"))
    got: list[tuple[str, Doc]] = []

    def subfactory(_name: str, doc: Any) -> list[Any]:
        return [lambda name, doc: got.append((name, doc))] if doc["name"] == "ours" else []

    router = RunRouter([lambda _name, _doc: ([], [subfactory])])
    first, second = event_document(ours, 1, {"x": 1.0}), event_document(other, 1, {"x": 1.0})
    stop = stop_document(start)
    for name, doc in [
        ("start", start),
        ("descriptor", ours),
        ("descriptor", other),
        ("event", first),
        ("event", second),
        ("stop", stop),
    ]:
        router(name, doc)
    assert got == [("start", start), ("descriptor", ours), ("event", first), ("stop", stop)]


def test_bulk_events_of_one_run_stay_together_and_of_two_are_split() -> None:
    """Bulk events of one run stay together and of two are split."""
    one, two = run_of(events=2), run_of(events=2)
    collector = Collector()
    collector.feed([one[0], one[1], two[0], two[1]])
    both = {"primary": [one[2][1], two[2][1], one[3][1]]}
    collector.feed([("bulk_events", both)])
    assert collector.got[one[0][1]["uid"]][-1] == ("bulk_events", {"primary": [one[2][1], one[3][1]]})
    assert collector.got[two[0][1]["uid"]][-1] == ("bulk_events", {"primary": [two[2][1]]})


@pytest.mark.parametrize(
    ("name", "doc"),
    [
        ("event", {}),
        ("descriptor", {"uid": "d"}),
        ("start", {}),
        ("stop", {}),
        ("nonsense", {"uid": "x"}),
        ("stream_datum", {"uid": "x"}),
        ("event", {"descriptor": []}),
    ],
)
def test_what_cannot_be_routed_is_told_or_raised(name: str, doc: Doc) -> None:
    """What cannot be routed is told or raised."""
    collector = Collector()
    collector.feed([(name, doc)])
    assert [odd[0] for odd in collector.odd] == [name]
    with pytest.raises(DocumentRefused):
        RunRouter([], max_parked=0)(name, doc)


def test_a_callback_that_raises_at_stop_leaves_nothing_behind() -> None:
    """A callback that raises at stop leaves nothing behind."""

    def broken(name: str, _doc: Any) -> None:
        if name == "stop":
            raise RuntimeError("full")

    router = RunRouter([lambda _name, _doc: ([broken], [])])
    *documents, stop = run_of(events=2)
    for document in documents:
        router(*document)
    with pytest.raises(RuntimeError, match="full"):
        router(*stop)
    assert router.open_runs == []
    assert not router._by_descriptor


def test_a_bulk_that_is_no_list_of_events_is_unroutable() -> None:
    """A bulk that is no list of events is unroutable."""
    collector = Collector()
    bulks: list[Doc] = [{"d": None}, {"d": [3]}, {"d": [{}]}]
    collector.feed(("bulk_events", bulk) for bulk in bulks)
    assert [doc for _, doc, _ in collector.odd] == bulks


def test_documents_that_waited_are_counted_by_run_and_listed_while_they_wait() -> None:
    """Documents that waited are counted by run and listed while they wait."""
    start, descriptor, *events, _stop = run_of(events=3)
    collector = Collector()
    collector.feed([events[0], start, events[1]])
    assert collector.router.parked_since(0) == events[:2]
    assert collector.router.parked_since(1) == events[1:2]
    collector.feed([descriptor, events[2]])
    assert collector.router.parked_since(0) == []
    assert collector.router.parked_of(start[1]["uid"]) == 2


def test_many_that_wait_for_different_documents_follow_in_their_order() -> None:
    """Many that wait for different documents follow in their order."""
    start = start_document()
    descriptors = [descriptor_document(start, {"x": data_key()}) for _ in range(300)]
    events = [event_document(descriptor, 1, {"x": 1.0}) for descriptor in descriptors]
    collector = Collector(max_parked=200)
    collector.feed([("start", start), *(("event", event) for event in events)])
    assert [doc for _, doc, _ in collector.odd] == events[:100]
    collector.feed(("descriptor", descriptor) for descriptor in reversed(descriptors))
    assert collector.router.parked == 0
    assert [doc for name, doc in collector.got[start["uid"]] if name == "event"] == events[:99:-1]


def test_a_run_from_long_before_takes_what_refers_to_it() -> None:
    """A run from long before takes what refers to it."""
    start, descriptor, *events, stop = run_of(events=2)
    collector = Collector()
    collector.feed(events[:1])
    collector.router.resume(start[1])
    collector.router.know(start[1]["uid"], [descriptor[1]["uid"]])
    collector.feed([events[1], start, stop])
    assert collector.got == {start[1]["uid"]: [*events, stop]}
    assert collector.odd == []
