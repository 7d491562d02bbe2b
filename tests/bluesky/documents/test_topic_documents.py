"""A sequence that Bluesky never saw is a run that its consumers accept."""

from __future__ import annotations

import base64
import json
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.bluesky.documents.test_round_trip import assert_usable_order, unpack

from gapless.bluesky.document_source import documents
from gapless.client.client import Client
from gapless.model.ontology.geometry import Vector3d
from gapless.model.ontology.sensors import IMU
from gapless.model.outcome import OnErrorPolicy

Emitted = tuple[str, dict[str, Any]]


def record(client: Client, schema: pa.Schema, rows: list[dict[str, Any]], name: str = "plain") -> None:
    """Record a topic ``arm/state`` with these rows, a millisecond apart."""
    metadata = {"robot.arm": {"a/b": [1, {"c.d": 2}]}, "robot_arm": 3}
    with client.sequence_create(name, metadata, group="lab") as sequence:
        topic = sequence.topic_create("arm/state", {"made.by": "test"}, schema=schema)
        stamped = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *schema])
        times = [{"timestamp_ns": 1_000_000_000 + n * 1_000_000} | row for n, row in enumerate(rows)]
        topic.push_batch(pa.RecordBatch.from_pylist(times, schema=stamped))


def emitted(client: Client, name: str = "plain", **words: Any) -> list[Emitted]:
    """Return the documents of a sequence."""
    return list(documents(client.sequence_handler(name), **words))


def validate(got: list[Emitted]) -> None:
    """Assert that each document is what the event model says it is, and in a usable order."""
    event_model = pytest.importorskip("event_model")
    for name, doc in got:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(doc)
    assert_usable_order(got)


def test_rows_are_events_and_columns_data_keys(client: Client) -> None:
    """Rows are events and columns data keys."""
    schema = pa.schema(
        [
            pa.field("angle", pa.float32(), metadata={"unit": "rad", "description": "of the elbow"}),
            pa.field("count", pa.uint16()),
            pa.field("on", pa.bool_()),
            pa.field("mode", pa.string()),
        ]
    )
    rows: list[dict[str, Any]] = [
        {"angle": 0.5, "count": 1, "on": True, "mode": "a"},
        {"angle": None, "count": 2, "on": False, "mode": None},
    ]
    record(client, schema, rows)
    got = emitted(client)
    validate(got)
    (start,), (descriptor,), (stop,) = (
        [doc for name, doc in got if name == kind] for kind in ("start", "descriptor", "stop")
    )
    events = [doc for name, doc in got if name == "event"]
    assert [event["data"] for event in events] == rows
    assert [(event["seq_num"], event["time"]) for event in events] == [(1, 1.0), (2, 1.001)]
    keys = descriptor["data_keys"]
    assert {key: (words["dtype"], words["dtype_numpy"]) for key, words in keys.items()} == {
        "angle": ("number", "<f4"),
        "count": ("integer", "<u2"),
        "on": ("boolean", "|b1"),
        "mode": ("string", "<U0"),
    }
    assert keys["angle"]["units"] == "rad"
    assert keys["angle"]["source"] == "gapless:plain/arm/state/angle"
    assert descriptor["name"] == "arm/state"
    assert start["metadata"] == {"robot_arm": {"a_b": [1, {"c_d": 2}]}, "robot_arm_": 3}
    assert start["data_session"] == "lab"
    assert (stop["exit_status"], stop["num_events"]) == ("success", {"arm/state": 2})


def test_uids_are_the_same_each_time_and_follow_the_content(client: Client) -> None:
    """Uids are the same each time and follow the content."""
    schema = pa.schema([pa.field("x", pa.float64())])
    record(client, schema, [{"x": 1.0}, {"x": 2.0}])
    record(client, schema, [{"x": 1.0}, {"x": 3.0}], "other")
    first, again, other = emitted(client), emitted(client), emitted(client, "other")
    assert first == again
    uids = [doc["uid"] for _, doc in first]
    assert len(set(uids)) == len(uids)
    assert not {str(uuid.UUID(uid)) for uid in uids} & {doc["uid"] for _, doc in other}


def test_what_an_event_cannot_hold_is_told_as_text_or_numbers(client: Client) -> None:
    """What an event cannot hold is told as text or numbers."""
    schema = pa.schema(
        [
            pa.field("pose", pa.struct([("x", pa.float64()), ("at", pa.struct([("frame", pa.string())]))])),
            pa.field("fixed", pa.list_(pa.list_(pa.int8(), 2), 2)),
            pa.field("grid", pa.list_(pa.float64()), metadata={"shape": "[2, null]"}),
            pa.field("names", pa.list_(pa.string())),
            pa.field("blob", pa.binary()),
            pa.field("when", pa.timestamp("us", "UTC")),
            pa.field("price", pa.decimal128(5, 2)),
            pa.field("parts", pa.list_(pa.struct([("id", pa.int32())]))),
        ]
    )
    row = {
        "pose": {"x": 1.5, "at": {"frame": "map"}},
        "fixed": [[1, 2], [3, 4]],
        "grid": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "names": ["a", "b"],
        "blob": b"\x00\xff",
        "when": 1_000_001,
        "price": Decimal("1.50"),
        "parts": [{"id": 7}],
    }
    record(client, schema, [row, dict.fromkeys(row)])
    got = emitted(client)
    validate(got)
    keys = got[1][1]["data_keys"]
    first, second = (doc["data"] for name, doc in got if name == "event")
    assert first == {
        "pose_x": 1.5,
        "pose_at_frame": "map",
        "fixed": [[1, 2], [3, 4]],
        "grid": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "names": ["a", "b"],
        "blob": base64.b64encode(b"\x00\xff").decode(),
        "when": 1_000_001,
        "price": "1.50",
        "parts": json.dumps([{"id": 7}]),
    }
    assert set(second.values()) == {None}
    assert keys["fixed"]["shape"] == [2, 2]
    assert keys["grid"]["shape"] == [2, None]
    assert (keys["when"]["units"], keys["when"]["dtype"]) == ("us", "integer")
    assert keys["pose_at_frame"]["source"].endswith("pose.at.frame")


def test_columns_that_become_one_key_are_kept_apart(client: Client) -> None:
    """Columns that become one key are kept apart."""
    schema = pa.schema([pa.field(name, pa.int64()) for name in ("a.b", "a_b", "a/b")])
    record(client, schema, [{"a.b": 1, "a_b": 2, "a/b": 3}])
    got = emitted(client)
    validate(got)
    assert sorted(got[2][1]["data"].values()) == [1, 2, 3]


def test_topics_are_merged_in_order_of_time(client: Client) -> None:
    """Topics are merged in order of time."""
    with client.sequence_create("two") as sequence:
        for name, offset in (("a", 0), ("b", 5)):
            topic = sequence.topic_create(name, schema=pa.schema([pa.field("x", pa.int64())]))
            times = np.arange(3) * 10 + offset
            topic.push_columns(times, {"x": times})
    got = emitted(client, "two")
    validate(got)
    assert [doc["data"]["x"] for name, doc in got if name == "event"] == [0, 5, 10, 15, 20, 25]


def test_an_ontology_type_tells_its_units(client: Client) -> None:
    """An ontology type tells its units."""
    with client.sequence_create("typed") as sequence:
        topic = sequence.topic_create("imu", ontology_type=IMU)
        for n in range(3):
            vector = Vector3d(x=float(n), y=0.0, z=9.8)
            topic.push(IMU(acceleration=vector, angular_velocity=vector), timestamp_ns=n)
    got = emitted(client, "typed")
    validate(got)
    descriptor = got[1][1]
    assert descriptor["configuration"]["imu"]["data"]["tag"] == "IMU"
    assert any("units" in words for words in descriptor["data_keys"].values())


def test_pages_hold_the_same_events(client: Client) -> None:
    """Pages hold the same events."""
    record(client, pa.schema([pa.field("x", pa.int64())]), [{"x": n} for n in range(10)])
    paged = emitted(client, pages=True)
    validate(paged)
    flat = [one for name, doc in paged for one in (unpack(doc) if name == "event_page" else [(name, doc)])]
    assert flat == emitted(client)


def break_off(client: Client) -> None:
    """Record a row, then fail."""
    with client.sequence_create("broken", on_error=OnErrorPolicy.Report) as sequence:
        sequence.topic_create("a", schema=pa.schema([pa.field("x", pa.int64())])).push_row(1, 1)
        raise ZeroDivisionError


def test_an_outcome_is_an_exit_status(client: Client) -> None:
    """An outcome is an exit status."""
    with pytest.raises(ZeroDivisionError):
        break_off(client)
    assert [name for name, _ in emitted(client, "broken")] == ["start", "descriptor", "event"]
    made = emitted(client, "broken", synthesize_stop=True)
    validate(made)
    assert made[-1][1]["exit_status"] == "fail"
    client.seal("broken")
    sealed = emitted(client, "broken")
    validate(sealed)
    assert (sealed[-1][0], sealed[-1][1]["exit_status"]) == ("stop", "fail")


def test_an_empty_sequence_is_a_run_without_events(client: Client) -> None:
    """An empty sequence is a run without events."""
    with client.sequence_create("empty") as sequence:
        sequence.topic_create("a", schema=pa.schema([pa.field("x", pa.int64())]))
    got = emitted(client, "empty")
    validate(got)
    assert [name for name, _ in got] == ["start", "descriptor", "stop"]
