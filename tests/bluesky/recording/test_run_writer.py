"""One run becomes one sequence; what is not as declared is told, kept and never changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bluesky.recording.run_documents import (
    BEGIN_S,
    Doc,
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)

import gapless
from gapless.bluesky.document_source import documents
from gapless.bluesky.lossless import decode
from gapless.bluesky.run_writer import RunWriter
from gapless.client.client import Client
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import DocumentRefused


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Return a client of an empty store."""
    with gapless.connect(tmp_path / "store") as client:
        yield client


def record(client: Client, keys: dict[str, Doc], rows: list[dict[str, Any]], **stop: Any) -> SequenceHandler:
    """Record a run of one stream, an event for each of the rows, and return its reader."""
    start = start_document()
    descriptor = descriptor_document(start, keys)
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    for number, data in enumerate(rows, 1):
        run("event", event_document(descriptor, number, data))
    run("stop", stop_document(start, **stop))
    return client.sequence_handler(start["uid"])


def column(handler: SequenceHandler, name: str) -> list[Any]:
    """Return a column of the stream ``primary``."""
    values: list[Any] = handler.topic("primary").to_arrow().column(name).to_pylist()
    return values


def violations(handler: SequenceHandler) -> list[dict[str, Any]]:
    """Return the rows of the violations, with their raw values."""
    if "bluesky/violations" not in handler:
        return []
    rows = handler.topic("bluesky/violations").to_arrow().to_pylist()
    return [row | {"value": None if row["value"] is None else decode(row["value"])} for row in rows]


def test_a_run_is_a_sequence_of_its_streams(client: Client) -> None:
    """Name, metadata, outcome, clock, columns and ledger."""
    handler = record(client, {"x": data_key(units="mm")}, [{"x": 1.5}, {"x": 2.5}], num_events={"primary": 2})
    assert handler.outcome == "completed"
    assert handler.metadata["start"]["plan_name"] == "count"
    assert handler.metadata["stop"]["exit_status"] == "success"
    assert column(handler, "x") == [1.5, 2.5]
    assert column(handler, "time") == [BEGIN_S + 1, BEGIN_S + 2]
    assert column(handler, "timestamp_ns") == [round((BEGIN_S + n) * 1e9) for n in (1, 2)]
    assert column(handler, "ts_x") == column(handler, "time")
    assert handler.topic("primary").clock == "producer"
    assert handler.ledger["gapped"] == 0
    assert client.verify(handler.name, deep=True) == []
    names = handler.topic("bluesky/documents").to_arrow().column("name").to_pylist()
    assert sorted(names) == ["descriptor", "start", "stop"]


@pytest.mark.parametrize(
    ("exit_status", "outcome"), [("success", "completed"), ("abort", "aborted"), ("fail", "failed")]
)
def test_the_stop_document_tells_the_outcome(client: Client, exit_status: str, outcome: str) -> None:
    """And its reason is the cause."""
    handler = record(client, {"x": data_key()}, [], exit_status=exit_status, reason="because")
    assert (handler.outcome, handler.reader.manifest["record"]["cause"]) == (outcome, "because")  # type: ignore[index]


@pytest.mark.parametrize(
    ("dtype", "values", "cells", "kinds"),
    [
        ("number", [1, 2.5, True], [1.0, 2.5, None], ["type"]),
        ("number", [None, None, 1.5], [None, None, 1.5], []),
        ("number", [2**53 + 1, 1.0], [None, 1.0], ["range"]),
        ("number", ["1.5", np.float32(1.5), np.int32(2)], [None, 1.5, 2.0], ["type"]),
        ("integer", [1, 2**63, -(2**63)], [1, None, -(2**63)], ["range"]),
        ("integer", [1, 2.0, np.uint8(3)], [1, None, 3], ["type"]),
        ("boolean", [True, 5, np.bool_(0)], [True, None, False], ["type"]),
        ("string", ["a", 5, "é"], ["a", None, "é"], ["type"]),
        ("string", ["a", "\ud800"], ["a", None], ["range"]),
    ],
)
def test_a_value_that_is_not_as_declared_is_null_and_kept_raw(
    client: Client, dtype: str, values: list[Any], cells: list[Any], kinds: list[str]
) -> None:
    """No cast changes a value, no row is lost, whichever row comes first."""
    handler = record(client, {"x": data_key(dtype)}, [{"x": value} for value in values])
    assert column(handler, "x") == cells
    found = violations(handler)
    assert [row["kind"] for row in found] == kinds
    wrong = [v for v, c in zip(values, cells, strict=True) if c is None and v is not None]
    assert [row["value"] for row in found] == wrong
    assert handler.metadata["bluesky"]["streams"]["primary"]["violations"] == len(kinds)


def test_one_batch_and_single_events_give_the_same_rows(client: Client) -> None:
    """The fast way takes no other decisions."""
    values: list[Any] = [1, 2.5, True, None, "x", 2**60, np.float64(3)]
    one = record(client, {"x": data_key()}, [{"x": value} for value in values])
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run.events(
        descriptor["uid"], [event_document(descriptor, n, {"x": value}) for n, value in enumerate(values, 1)]
    )
    run("stop", stop_document(start))
    many = client.sequence_handler(start["uid"])
    assert column(one, "x") == column(many, "x")
    assert [v["value"] for v in violations(one)] == [v["value"] for v in violations(many)]


@pytest.mark.parametrize("first", [True, False])
def test_a_missing_key_is_null_and_a_violation(client: Client, first: bool) -> None:
    """In the first event as in any other; the column stays."""
    rows = [{"x": 1.0}, {"x": 1.0, "y": 2.0}]
    handler = record(client, {"x": data_key(), "y": data_key()}, rows if first else rows[::-1])
    assert column(handler, "y") == ([None, 2.0] if first else [2.0, None])
    assert [(v["key"], v["kind"], v["value"]) for v in violations(handler)] == [("y", "missing", None)]


def test_an_extra_key_is_kept_with_its_timestamp(client: Client) -> None:
    """As a violation, for a topic's columns never change."""
    handler = record(client, {"x": data_key()}, [{"x": 1.0}, {"x": 2.0, "z": [1, "a"]}])
    (found,) = violations(handler)
    assert (found["key"], found["kind"], found["seq_num"]) == ("z", "extra", 2)
    assert found["value"] == {"value": [1, "a"], "timestamp": BEGIN_S + 2}


def test_arrays_are_flat_lists_in_the_declared_type(client: Client) -> None:
    """A wrong shape or element is a violation; integers become floats only where that is exact."""
    keys = {"x": data_key("array", (2, 2), dtype_numpy="<f8")}
    values: list[Any] = [
        np.arange(4.0).reshape(2, 2),
        [[1, 2], [3, 4]],
        [1.0, 2.0],
        [["a", "b"], ["c", "d"]],
        5.0,
    ]
    handler = record(client, keys, [{"x": value} for value in values])
    assert column(handler, "x") == [[0, 1, 2, 3], [1, 2, 3, 4], None, None, None]
    assert [v["kind"] for v in violations(handler)] == ["shape", "type", "type"]


def test_duplicates_second_tries_and_late_numbers_are_counted(client: Client) -> None:
    """A duplicate is no row; both tries are rows; what never came is a gap in the ledger."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    first, third, again = (event_document(descriptor, n, {"x": float(n)}) for n in (1, 3, 3))
    for event in (first, third, first, again):
        run("event", event)
    run("stop", stop_document(start, num_events={"primary": 5}))
    handler = client.sequence_handler(start["uid"])
    report = handler.metadata["bluesky"]["streams"]["primary"]
    assert {k: report[k] for k in ("events", "rows", "duplicates", "superseded", "missing")} == {
        "events": 4, "rows": 3, "duplicates": 1, "superseded": 1, "missing": 3,
    }  # fmt: skip
    assert handler.topic("primary").ledger["gapped"] == 3
    gaps = handler.topic("_gaps").to_arrow().to_pylist()
    assert [(gap["count"], gap["cause"]) for gap in gaps] == [
        (1, "events 2 to 2 never came"), (2, "events 4 to 5 never came"),
    ]  # fmt: skip


def test_a_page_is_what_its_events_are(client: Client) -> None:
    """Columns are taken as they come."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    events = [event_document(descriptor, n, {"x": float(n)}) for n in (1, 2, 3)]
    page = {"descriptor": descriptor["uid"]} | {
        name: [event[name] for event in events] for name in ("uid", "seq_num", "time")
    }
    page |= {name: {"x": [event[name]["x"] for event in events]} for name in ("data", "timestamps")}
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run("event_page", page)
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    assert column(handler, "x") == [1.0, 2.0, 3.0]
    assert column(handler, "uid") == [event["uid"] for event in events]


def test_external_frames_are_a_row_for_each_datum(client: Client) -> None:
    """Whatever their number, none holds a list of files; a datum that comes twice is one row."""
    start = start_document()
    image = data_key("array", (1, 4, 4), dtype_numpy="|u1", external="STREAM:")
    descriptor = descriptor_document(start, {"image": image})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    resource = {
        "uid": "r", "data_key": "image", "mimetype": "application/x-hdf5", "uri": "file://localhost/x.h5",
        "parameters": {"dataset": "/data"},
    }  # fmt: skip
    run("stream_resource", resource)
    datums = [
        {
            "uid": f"r/{n}", "stream_resource": "r", "descriptor": descriptor["uid"],
            "indices": {"start": n, "stop": n + 1}, "seq_nums": {"start": n + 1, "stop": n + 2},
        }
        for n in range(5)
    ]  # fmt: skip
    for datum in [*datums, datums[2]]:
        run("stream_datum", datum)
    run("stop", stop_document(start, num_events={"primary": 0}))
    handler = client.sequence_handler(start["uid"])
    rows = handler.topic("primary/_external").to_arrow().to_pylist()
    assert [(r["index_start"], r["seq_stop"], r["data_key"]) for r in rows] == [
        (n, n + 2, "image") for n in range(5)
    ]
    assert handler.metadata["bluesky"]["streams"]["primary"]["external_duplicates"] == 1
    assert handler.ledger["gapped"] == 0
    with pytest.raises(DocumentRefused, match="has not come"):
        RunWriter(client, start_document()).stream_datums([datums[0]])


def test_odd_names_of_streams_get_topics(client: Client) -> None:
    """The stream's own name stands in the topic's metadata."""
    start = start_document()
    run = RunWriter(client, start)
    names = ["_dark", "Primary", "primary", "a/b"]
    for name in names:
        run("descriptor", descriptor_document(start, {"x": data_key()}, name))
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    topics = [topic for topic in handler if not topic.name.startswith("bluesky/")]
    assert sorted(topic.metadata["bluesky"]["stream"] for topic in topics) == sorted(names)


def test_a_stop_that_never_came_reads_as_interrupted(client: Client) -> None:
    """Also where nobody died."""
    start = start_document()
    run = RunWriter(client, start)
    run.seal("closed before the run ended")
    handler = client.sequence_handler(start["uid"])
    assert handler.outcome == "interrupted"
    assert "stop" not in handler.metadata


def test_late_events_go_to_a_layer(client: Client) -> None:
    """With the columns of the base, which stays as it is."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run("event", event_document(descriptor, 1, {"x": 1.0}))
    run("stop", stop_document(start))
    digest = client.sequence_handler(start["uid"]).content_digest
    layer = RunWriter.of_layer(client, start["uid"], [descriptor])
    layer("event", event_document(descriptor, 2, {"x": 2.0}))
    layer.seal()
    handler = client.sequence_handler(start["uid"])
    assert (handler.layers, handler.content_digest) == (["late"], digest)
    assert column(handler, "x") == [1.0, 2.0]


def test_the_metadata_is_json_and_the_document_is_lossless(client: Client) -> None:
    """NaN, wide integers and arrays are searchable as far as JSON goes, and whole in the documents."""
    start = start_document(big=2**70, nan=float("nan"), grid=np.arange(3))
    run = RunWriter(client, start)
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    words = handler.metadata["start"]
    assert (words["big"], words["nan"], words["grid"]) == (str(2**70), None, [0, 1, 2])
    json.dumps(words)
    kept = decode(handler.topic("bluesky/documents").to_arrow().column("document")[0].as_py())
    assert kept["big"] == 2**70
    assert np.array_equal(kept["grid"], start["grid"])


@pytest.mark.parametrize(
    "odd", [{"uid": 7}, {"uid": "\ud800"}, {"seq_num": "2"}, {"seq_num": 2.5}, {"seq_num": 2**70}]
)
def test_an_odd_event_takes_no_other_with_it(client: Client, odd: dict[str, Any]) -> None:
    """Refused as a batch, the good ones are no duplicates when they come again one by one."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    events = [event_document(descriptor, n, {"x": float(n)}) for n in (1, 2, 3)]
    events[1] |= odd
    with pytest.raises(DocumentRefused):
        run.events(descriptor["uid"], events)
    for event in (events[0], events[2]):
        run("event", event)
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    report = handler.metadata["bluesky"]["streams"]["primary"]
    assert column(handler, "x") == [1.0, 3.0]
    assert (report["events"], report["duplicates"], report["missing"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("dtype_numpy", "shape", "value", "kind"),
    [
        ("<f8", [2], [True, 2.5], "type"),
        ("<i8", [2], [1, True], "type"),
        ("<f8", [2], [2**53 + 1, 0.5], "range"),
        ("<i8", [2], [2**63 + 1, -1], "range"),
        ("<f8", [2], np.array([2**53 + 1, 0]), "range"),
        ("|u1", [2], np.array([256, 0]), "range"),
        ("<i8", [1], np.array([2**63], np.uint64), "range"),
        ("<f4", [1], [0.1], "range"),
        ("<U4", [2], [1, "a"], "type"),
        ("<U4", [1], ["\ud800"], "range"),
        ("<f8", [2], np.ma.masked_array([1.0, 2.0], [True, False]), "type"),
        ("<f8", [2], [1.0, None], "type"),
        ("<f8", [], [[1.0, 2.0]], "shape"),
        ("<f8", [2], [[1.0], [2.0, 3.0]], "shape"),
    ],
)
def test_an_array_is_never_cast_and_its_shape_never_lost(
    client: Client, dtype_numpy: str, shape: list[Any], value: Any, kind: str
) -> None:
    """What would change a value, or could not be given back, is a violation with the raw value."""
    key = data_key("array", dtype_numpy=dtype_numpy) | {"shape": shape}
    handler = record(client, {"x": key}, [{"x": value}])
    assert column(handler, "x") == [None]
    assert [row["kind"] for row in violations(handler)] == [kind]


@pytest.mark.parametrize(
    ("dtype_numpy", "shape", "value", "cell"),
    [
        ("<f4", [2], [0.5, float("inf")], [0.5, float("inf")]),
        ("<f8", [None, 2], [[1, 2], [3, 4]], [1.0, 2.0, 3.0, 4.0]),
        ("<f8", [0], [], []),
        ("<U2", [2], ["abc\x00", ""], ["abc\x00", ""]),
        ("|b1", [2], np.array([True, False]), [True, False]),
        ("<i8", [2], np.array([1, 2], np.uint8), [1, 2]),
        ("<f8", [None, None], [[1.0, 2.0], [3.0, 4.0]], "[[1.0,2.0],[3.0,4.0]]"),
    ],
)
def test_an_array_that_fits_is_its_elements(
    client: Client, dtype_numpy: str, shape: list[Any], value: Any, cell: list[Any]
) -> None:
    """One open axis follows from the number of elements."""
    key = data_key("array", dtype_numpy=dtype_numpy) | {"shape": shape}
    handler = record(client, {"x": key}, [{"x": value}])
    assert column(handler, "x") == [cell]
    assert violations(handler) == []


def test_another_document_under_a_known_uid_is_refused(client: Client) -> None:
    """The same one again changes nothing."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    run("descriptor", dict(descriptor))
    with pytest.raises(DocumentRefused, match="another document of this uid"):
        run("descriptor", descriptor | {"data_keys": {"y": data_key()}})
    run("stop", stop_document(start))
    names = (
        client.sequence_handler(start["uid"]).topic("bluesky/documents").to_arrow().column("name").to_pylist()
    )
    assert names.count("descriptor") == 1


@pytest.mark.parametrize(
    "counts", [{"primary": "5"}, {"primary": 7.5}, {"primary": [1]}, {"primary": True}, 5]
)
def test_counts_that_are_none_do_not_hinder_the_seal(client: Client, counts: Any) -> None:
    """The run ends as its stop document says."""
    handler = record(client, {"x": data_key()}, [{"x": 1.0}], num_events=counts)
    assert (handler.outcome, handler.ledger["gapped"]) == ("completed", 0)


def test_a_stream_that_never_came_is_told(client: Client) -> None:
    """The stop document counts its events."""
    handler = record(client, {"x": data_key()}, [{"x": 1.0}], num_events={"primary": 1, "baseline": 2})
    (finding,) = handler.metadata["bluesky"]["findings"]
    assert (finding["code"], finding["stream"]) == ("stream-missing", "baseline")
    assert "stream-missing" in handler.topic("_events").to_arrow().column("kind").to_pylist()


def test_frames_that_never_came_are_gaps(client: Client) -> None:
    """Also in a stream that has no events; a range that cannot be read takes no other with it."""
    start = start_document()
    descriptor = descriptor_document(start, {"image": data_key("array", (1, 2, 2), external="STREAM:")})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    resource = {
        "uid": "r",
        "data_key": "image",
        "mimetype": "image/tiff",
        "uri": "file://localhost/x",
        "parameters": {},
    }
    run("stream_resource", resource)
    datums: list[Doc] = [
        {
            "uid": f"r/{n}", "stream_resource": "r", "descriptor": descriptor["uid"],
            "indices": {"start": n, "stop": n + 1}, "seq_nums": {"start": n + 1, "stop": n + 2},
        }
        for n in (0, 1, 2, 6, 7)
    ]  # fmt: skip
    odd = datums[0] | {"uid": "odd", "seq_nums": {"start": None, "stop": 1}}
    with pytest.raises(DocumentRefused):
        run.stream_datums([*datums, odd])
    run.stream_datums(datums)
    run("stop", stop_document(start, num_events={"primary": 10}))
    handler = client.sequence_handler(start["uid"])
    report = handler.metadata["bluesky"]["streams"]["primary"]
    assert (report["external_rows"], report["external_duplicates"], report["external_missing"]) == (5, 0, 5)
    causes = handler.topic("_gaps").to_arrow().column("cause").to_pylist()
    assert causes == [
        "image: frames of events 4 to 6 never came", "image: frames of events 9 to 10 never came",
    ]  # fmt: skip


@pytest.mark.parametrize("uid", ["x" * 300, "a\nb"])
def test_a_uid_that_is_no_name_still_names_a_sequence(client: Client, uid: str) -> None:
    """The run keeps its uid in the metadata."""
    start = start_document(uid=uid)
    run = RunWriter(client, start)
    run("stop", stop_document(start))
    (name,) = client.list_sequences()
    assert name.startswith("run-")
    assert client.sequence_handler(name).outcome == "completed"


def test_numbers_that_python_will_not_print_are_metadata_all_the_same(client: Client) -> None:
    """As hexadecimal text."""
    start = start_document(huge=10**5000)
    RunWriter(client, start)("stop", stop_document(start))
    assert int(client.sequence_handler(start["uid"]).metadata["start"]["huge"], 16) == 10**5000


def test_what_else_an_event_holds_is_kept(client: Client) -> None:
    """And comes back with it."""
    start = start_document()
    descriptor = descriptor_document(start, {"x": data_key()})
    run = RunWriter(client, start)
    run("descriptor", descriptor)
    plain = event_document(descriptor, 1, {"x": 1.0})
    richer = event_document(descriptor, 2, {"x": 2.0}, mood="good", grid=[1, 2])
    run.events(descriptor["uid"], [plain, plain, richer])
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    (found,) = violations(handler)
    assert (found["kind"], found["seq_num"], found["value"]) == ("extra", 2, {"mood": "good", "grid": [1, 2]})
    assert [doc for name, doc in documents(handler) if name == "event"] == [plain, richer]


def test_a_replayed_run_has_no_times_of_the_replay(client: Client) -> None:
    """References to frames and documents without a time stand where the run was when they came."""
    start = start_document()
    descriptor = descriptor_document(start, {"image": data_key("array", (1, 2, 2), external="STREAM:")})
    run = RunWriter(client, start, replayed=True)
    run("descriptor", descriptor)
    uri = "file://localhost/x"
    run("stream_resource", {"uid": "r", "data_key": "image", "mimetype": "x/y", "uri": uri, "parameters": {}})
    datum = {"uid": "r/0", "stream_resource": "r", "descriptor": descriptor["uid"]}
    run("stream_datum", datum | {"indices": {"start": 0, "stop": 1}, "seq_nums": {"start": 1, "stop": 2}})
    run("stop", stop_document(start))
    handler = client.sequence_handler(start["uid"])
    assert (handler.start_ns, handler.end_ns) == (round(BEGIN_S * 1e9), round((BEGIN_S + 100) * 1e9))
    assert handler.topic("primary/_external").start_ns == round(BEGIN_S * 1e9)
