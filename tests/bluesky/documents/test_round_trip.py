"""What is re-emitted is what was recorded: every document, every raw value, in an order that can be used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.bluesky.external.external_run import datum_document, external_key, resource_document
from tests.bluesky.recording.run_documents import (
    BEGIN_S,
    Doc,
    data_key,
    descriptor_document,
    event_document,
    new_uid,
    start_document,
    stop_document,
)

import gapless
from gapless.bluesky.document_source import documents
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.stored_run import StoredRun
from gapless.client.client import Client

Emitted = tuple[str, Doc]


def feed(client: Client, emitted: Sequence[Emitted]) -> RunWriter:
    """Record documents, the first of which is start."""
    run = RunWriter(client, emitted[0][1])
    for name, doc in emitted[1:]:
        run(name, doc)
    return run


def again(client: Client, emitted: Sequence[Emitted], **words: Any) -> list[Emitted]:
    """Record documents and return what the stored run emits."""
    feed(client, emitted)
    return list(documents(client.sequence_handler(emitted[0][1]["uid"]), **words))


def assert_same(got: Iterable[Emitted], expected: Iterable[Emitted]) -> None:
    """Assert that the same documents are there, whatever their order."""
    found = {(name, doc["uid"]): doc for name, doc in got}
    wanted = {(name, doc["uid"]): doc for name, doc in expected}
    assert found.keys() == wanted.keys()
    for key, doc in wanted.items():
        assert equal(found[key], doc), (key, found[key], doc)


def equal(left: Any, right: Any) -> bool:
    """Compare as a consumer does: arrays and lists of the same values are the same, NaN is NaN."""
    if isinstance(left, np.ndarray | list | tuple) and isinstance(right, np.ndarray | list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return bool(left == right) or (left != left and right != right)


def assert_usable_order(emitted: Sequence[Emitted]) -> None:
    """Assert that everything is announced before it is named, and stop is the last."""
    known: set[str] = set()
    assert emitted[0][0] == "start"
    for name, doc in emitted:
        for reference in ("run_start", "descriptor", "stream_resource"):
            assert doc.get(reference) is None or doc[reference] in known, (name, reference)
        known.update([doc["uid"]] if isinstance(doc["uid"], str) else doc["uid"])
    assert [name for name, _ in emitted[:-1]].count("stop") == 0


def plain_run(rows: int = 5) -> list[Emitted]:
    """Return the documents of a run with two streams and external frames."""
    start = start_document(hints={"dimensions": [[["x"], "primary"]]}, note=float("inf"), big=2**70)
    keys = {
        "x": data_key(units="mm"),
        "n": data_key("integer"),
        "flag": data_key("boolean"),
        "word": data_key("string", choices=["a", "b"]),
        "wave": data_key("array", (2, 3), dtype_numpy="<i4"),
        "image": external_key((2, 2), "<u2"),
    }
    primary = descriptor_document(start, keys, configuration={"det": {"data": {"gain": 1}}})
    baseline = descriptor_document(start, {"temp": data_key()}, name="baseline")
    resource = resource_document(start, "file://localhost/data/a.h5", "application/x-hdf5", dataset="d")
    emitted: list[Emitted] = [("start", start), ("descriptor", baseline)]
    emitted.append(("event", event_document(baseline, 1, {"temp": 20.5}, time=BEGIN_S)))
    emitted += [("descriptor", primary), ("stream_resource", resource)]
    for n in range(1, rows + 1):
        wave = [[n, 2, 3], [4, 5, 6]]
        data = {"x": n / 3, "n": n, "flag": n % 2 == 0, "word": "ab"[n % 2], "wave": wave}
        emitted.append(("event", event_document(primary, n, data)))
        emitted.append(("stream_datum", datum_document(primary, resource, (n - 1, n), (n, n + 1))))
    emitted.append(("event", event_document(baseline, 2, {"temp": None})))
    emitted.append(("stop", stop_document(start, num_events={"primary": rows, "baseline": 2})))
    return emitted


def test_a_run_comes_back_whole(client: Client) -> None:
    """A run comes back whole."""
    expected = plain_run()
    got = again(client, expected)
    assert_same(got, expected)
    assert_usable_order(got)


def test_values_come_back_in_their_types(client: Client) -> None:
    """Values come back in their types."""
    expected = plain_run(1)
    (event,) = (
        doc for name, doc in again(client, expected) if name == "event" and doc["data"].get("x") is not None
    )
    kinds = {key: type(value) for key, value in event["data"].items()}
    assert kinds == {"x": float, "n": int, "flag": bool, "word": str, "wave": list}
    assert event["data"]["wave"] == [[1, 2, 3], [4, 5, 6]]


def test_events_come_in_order_of_arrival_whatever_their_times_say(client: Client) -> None:
    """Events come in order of arrival whatever their times say."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    events = [event_document(descriptor, n, {"x": float(n)}) for n in (5, 3, 4, 1, 2, 2, 1)]
    emitted: list[Emitted] = [("start", start), ("descriptor", descriptor)]
    emitted += [("event", event) for event in events]
    got = again(client, [*emitted, ("stop", stop_document(start))])
    assert [doc for name, doc in got if name == "event"] == events


def test_violations_are_put_back(client: Client) -> None:
    """Violations are put back."""
    start = start_document()
    keys = {"x": data_key(), "n": data_key("integer"), "wave": data_key("array", (2,), dtype_numpy="<f8")}
    descriptor = descriptor_document(start, keys)
    good = {"x": 1.0, "n": 1, "wave": [1.0, 2.0]}
    rows: list[dict[str, Any]] = [
        good,
        good | {"x": "text"},
        good | {"x": True, "n": 2**80},
        good | {"wave": [1.0, 2.0, 3.0]},
        good | {"more": {"nested": [1, None]}},
        {"x": 1.0, "n": 1},
        good,
    ]
    events = [event_document(descriptor, n, row) for n, row in enumerate(rows, 1)]
    events[0]["timestamps"]["x"] = "noon"
    del events[6]["timestamps"]["n"]
    events.append(event_document(descriptor, 8, good, time="never"))
    emitted: list[Emitted] = [("start", start), ("descriptor", descriptor)]
    emitted += [("event", event) for event in events]
    emitted.append(("stop", stop_document(start)))
    got = again(client, emitted)
    assert_same(got, emitted)
    assert [type(doc["data"]["x"]) for name, doc in got if name == "event"][1:3] == [str, bool]


def test_pages_hold_the_same_events(client: Client) -> None:
    """Pages hold the same events."""
    expected = plain_run(6)
    expected[7][1]["data"]["x"] = "text"  # no page can hold this one
    feed(client, expected)
    handler = client.sequence_handler(expected[0][1]["uid"])
    paged = list(documents(handler, pages=True))
    assert_usable_order(paged)
    names = [name for name, _ in paged]
    assert (names.count("event_page"), names.count("event")) == (3, 1)
    unpacked = [
        one for name, doc in paged for one in (unpack(doc) if name == "event_page" else [(name, doc)])
    ]
    assert_same(unpacked, expected)


def unpack(page: Doc) -> list[Emitted]:
    """Return the events of a page."""
    return [
        (
            "event",
            {
                "descriptor": page["descriptor"],
                **{name: page[name][row] for name in ("uid", "seq_num", "time")},
                **{
                    name: {key: values[row] for key, values in page[name].items()}
                    for name in ("data", "timestamps")
                },
            },
        )
        for row in range(len(page["uid"]))
    ]


def test_a_changed_configuration_is_announced_before_its_events(client: Client) -> None:
    """A changed configuration is announced before its events."""
    start = start_document()
    first, second = (
        descriptor_document(start, {"x": data_key()}, configuration={"d": {"data": {"gain": gain}}})
        for gain in (1, 2)
    )
    emitted: list[Emitted] = [("start", start), ("descriptor", first)]
    emitted.append(("event", event_document(first, 1, {"x": 1.0})))
    second["time"] = BEGIN_S + 50  # later than its events say they are
    emitted.append(("descriptor", second))
    emitted += [("event", event_document(second, n, {"x": 1.0})) for n in (2, 3)]
    got = again(client, [*emitted, ("stop", stop_document(start))])
    assert [(name, doc["uid"]) for name, doc in got[:-1]] == [(name, doc["uid"]) for name, doc in emitted]


def test_late_documents_come_before_stop_and_once(client: Client) -> None:
    """Late documents come before stop and once."""
    emitted = plain_run()
    cut = 8
    run = RunWriter(client, emitted[0][1])
    for name, doc in emitted[1:cut]:
        run(name, doc)
    run.seal("killed")
    uid = emitted[0][1]["uid"]
    late = RunWriter.of_layer(client, uid, [doc for name, doc in emitted[:cut] if name == "descriptor"])
    for name, doc in emitted[4:cut]:
        if name == "stream_resource":
            late.know_resource(doc)
        else:
            late(name, doc)
    for name, doc in emitted[cut:]:
        late(name, doc)
    got = list(documents(client.sequence_handler(uid)))
    assert len(got) == len(emitted)
    assert_same(got, emitted)
    assert_usable_order(got)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "open"])
def test_a_run_without_stop_ends_without_one_unless_asked(client: Client, sealed: bool) -> None:
    """A run without stop ends without one unless asked."""
    emitted = plain_run()[:-1]
    run = feed(client, emitted)
    if sealed:
        run.seal("the engine was killed")
    else:
        run.flush()
    handler = client.sequence_handler(emitted[0][1]["uid"])
    assert_same(documents(handler), emitted)
    *rest, (name, stop) = documents(handler, synthesize_stop=True)
    assert_same(rest, emitted)
    assert (name, stop["exit_status"], stop["run_start"]) == ("stop", "fail", emitted[0][1]["uid"])
    assert stop["num_events"] == {"primary": 5, "baseline": 2}
    assert ("the engine was killed" if sealed else "open") in stop["reason"]
    if not sealed:
        run.seal("end of the test")


def test_the_documents_pass_the_validators_of_the_event_model(client: Client) -> None:
    """The documents pass the validators of the event model."""
    validators = pytest.importorskip("event_model").schema_validators
    names = pytest.importorskip("event_model").DocumentNames
    emitted = plain_run()
    feed(client, emitted)
    for pages in (False, True):
        for name, doc in documents(client.sequence_handler(emitted[0][1]["uid"]), pages=pages):
            validators[names[name]].validate(doc)


def test_a_run_of_many_rows_comes_in_batches(client: Client) -> None:
    """More rows than one batch has, out of order of time, with violations far apart."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    events = [event_document(descriptor, n, {"x": float(n)}) for n in range(1, 10_001)]
    events[100]["time"] -= 5_000
    events[9_000]["data"]["x"] = "text"
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run.events(descriptor["uid"], events)
    run("stop", stop_document(start))
    got = [doc for name, doc in documents(StoredRun(client, start["uid"])) if name == "event"]
    assert got == events


TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    TEXT,
    st.lists(st.integers(), max_size=3),
)
KEYS = ("number", "integer", "boolean", "string", "array")
EVENTS = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.dictionaries(st.sampled_from([*KEYS, "extra", "_odd", "time"]), ODD, max_size=7),
        st.integers(0, 3),
    ),
    max_size=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(EVENTS, st.booleans())
def test_whatever_an_event_holds_comes_back(
    tmp_path: Path, drawn: list[tuple[int, dict[str, Any], int]], pages: bool
) -> None:
    """Whatever an event holds comes back."""
    start = start_document()
    keys = {name: data_key(name, (2,) if name == "array" else ()) for name in KEYS}
    keys |= {"_odd": data_key(), "time": data_key()}
    descriptor = descriptor_document(start, keys)
    emitted: list[Emitted] = [("start", start), ("descriptor", descriptor)]
    for number, data, cut in drawn:
        event = event_document(descriptor, number, data)
        for key in list(data)[:cut]:
            event["timestamps"].pop(key)
        emitted.append(("event", event))
    emitted.append(("stop", stop_document(start)))
    with gapless.connect(tmp_path / new_uid()) as client:
        feed(client, emitted)
        got = list(documents(client.sequence_handler(start["uid"]), pages=pages))
    assert_usable_order(got)
    flat = [one for name, doc in got for one in (unpack(doc) if name == "event_page" else [(name, doc)])]
    assert_same(flat, emitted)
