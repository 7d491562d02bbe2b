"""Writing through the public API: what is pushed is what is read, and refusals harm nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.errors import (
    MetadataRefused,
    NameRefused,
    NameTaken,
    NotFound,
    RecordTooLarge,
    SchemaRefused,
    StateError,
    UsageError,
    ValueRefused,
    WriterClosed,
)
from gapless.store.durability import Durability
from gapless.testing.sample import COUNTS, IMAGES, MOTION, NOTES, TOPICS

NO_NAN = pa.schema([pa.field("x", pa.float64(), metadata={"allow_nan": "false"})])


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """A client of an empty store."""
    return gapless.connect(tmp_path / "store")


def test_every_way_to_push_gives_the_same_rows(client: gapless.Client) -> None:
    """Rows, columns and batches of four topics come back exactly, in order, with a balanced ledger."""
    with client.sequence_create("s") as seq:
        for topic in TOPICS:
            writer = seq.topic_create(topic.name, schema=topic.schema)
            for k in range(50):
                writer.push_row(*topic.row(k))
            writer.push_batch(topic.batch(50, 400))
            table = topic.table(400, 500)
            writer.push_columns(table["timestamp_ns"], {n: table[n] for n in table.column_names[1:]})
            writer.push_batch(pa.concat_tables([topic.table(500, 510), topic.table(510, 520)]))
            writer.push(gapless.Message(topic.row(520)[0], topic.row(520)[1:]))
            writer.push(
                timestamp_ns=topic.row(521)[0],
                data=dict(zip(topic.schema.names[1:], topic.row(521)[1:], strict=True)),
            )
    handler = client.sequence_handler("s")
    for topic in TOPICS:
        assert handler.topic(topic.name).to_arrow().equals(topic.table(0, 522)), topic.name
    assert handler.ledger == {"produced": 2088, "written": 2088, "dropped": 0, "gapped": 0}
    assert client.verify("s", deep=True) == []


def test_rows_out_of_order_and_duplicates_are_kept_and_read_in_time_order(client: gapless.Client) -> None:
    """Reading sorts by time; rows of one time stay in the order of their push."""
    times = [5, 3, 5, -7, 3, 2**63 - 1, -(2**63) + 1, 5]
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=pa.schema([("n", pa.int64())]))
        for n, time_ns in enumerate(times):
            topic.push_row(time_ns, n)
    table = client.sequence_handler("s").topic("t").to_arrow()
    expected = sorted(range(len(times)), key=lambda n: times[n])
    assert table["n"].to_pylist() == expected
    assert table["timestamp_ns"].to_pylist() == sorted(times)


def test_arrays_may_be_overwritten_as_soon_as_a_call_returns(client: gapless.Client) -> None:
    """What is recorded is what the arrays, lists and bytearrays held at the call."""
    schema = pa.schema([("x", pa.float64()), ("v", pa.list_(pa.float64())), ("b", pa.binary())])
    times, xs, vector, blob = np.arange(3), np.zeros(3), np.zeros(2), bytearray(b"abc")
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=schema)
        topic.push_row(0, 0.0, vector, blob)
        fixed = seq.topic_create("f", schema=pa.schema([("x", pa.float64())]))
        fixed.push_columns(times, {"x": xs})
        topic.push_columns(times, {"x": xs, "v": np.zeros((3, 2)), "b": [b"abc"] * 3})
        times[:], xs[:], vector[:], blob[:] = 99, 99, 99, b"xyz"
    handler = client.sequence_handler("s")
    assert handler.topic("f").to_arrow().to_pydict() == {"timestamp_ns": [0, 1, 2], "x": [0.0] * 3}
    assert handler.topic("t").to_arrow()["v"].to_pylist() == [[0.0, 0.0]] * 4
    assert handler.topic("t").to_arrow()["b"].to_pylist() == [b"abc"] * 4


def test_nan_is_kept_where_allowed_and_refused_where_not(client: gapless.Client) -> None:
    """allow_nan=false holds for rows, columns and batches; elsewhere NaN comes back as NaN."""
    with client.sequence_create("s") as seq:
        strict = seq.topic_create("strict", schema=NO_NAN)
        strict.push_row(0, 1.0)
        refused: list[Callable[[], object]] = [
            lambda: strict.push_row(1, math.nan),
            lambda: strict.push_columns(np.arange(2), {"x": np.array([1.0, np.nan])}),
            lambda: strict.push_batch(pa.record_batch({"timestamp_ns": [1], "x": [math.nan]})),
        ]
        for push in refused:
            with pytest.raises(ValueRefused, match="NaN"):
                push()
        seq.topic_create("free", schema=pa.schema([("x", pa.float64())])).push_row(0, math.nan)
    handler = client.sequence_handler("s")
    assert handler.topic("strict").to_arrow()["x"].to_pylist() == [1.0]
    assert math.isnan(handler.topic("free").to_arrow()["x"][0].as_py())


@pytest.mark.parametrize("value", [21.3, True, "text ü", b"\0\xff", [1.0, 2.0], {"a": 1.0, "b": "x"}])
def test_log_makes_a_topic_of_the_value(client: gapless.Client, value: Any) -> None:
    """The first value decides the type; later ones join; the unit is kept."""
    with client.sequence_create("s") as seq:
        for k in range(3):
            seq.log("oven/pv", value, unit="degC", timestamp_ns=k)
    table = client.sequence_handler("s").topic("oven/pv").to_arrow()
    expected = [value] * 3 if not isinstance(value, dict) else None
    if expected is not None:
        assert table["value"].to_pylist() == expected
    else:
        assert table.select(["a", "b"]).to_pylist() == [value] * 3
    assert table.schema.field(1).metadata[b"unit"] == b"degC"


def test_without_a_time_the_sequence_clock_stamps_and_the_manifest_says_whose_clock_it_was(
    client: gapless.Client,
) -> None:
    """clock is gapless, producer or mixed; the clock never steps back."""
    schema = pa.schema([("x", pa.float64())])
    with client.sequence_create("s") as seq:
        topics = {name: seq.topic_create(name, schema=schema) for name in ("ours", "theirs", "both")}
        start = seq.now_ns()
        for k in range(20):
            topics["ours"].push_row(None, 1.0)
            topics["theirs"].push_row(k, 1.0)
            topics["both"].push_row(None if k >= 10 else k, 1.0)
        topics["ours"].push_columns(None, {"x": np.zeros(3)})
        end = seq.now_ns()
    handler = client.sequence_handler("s")
    times = handler.topic("ours").to_arrow()["timestamp_ns"].to_pylist()
    assert times == sorted(times)
    assert start <= times[0] <= times[-1] <= end
    manifest = json.loads((client.path / "sequences" / "s" / "manifest.json").read_bytes())
    clocks = {name: entry["clock"] for name, entry in manifest["content"]["topics"].items()}
    assert clocks == {"ours": "gapless", "theirs": "producer", "both": "mixed"}


def test_holes_in_a_producers_numbers_become_gaps_and_late_rows_close_them(client: gapless.Client) -> None:
    """Numbers that never came are gapped; a late one and a duplicate are kept; the ledger balances."""
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=pa.schema([("n", pa.int64())]), producer_seq=True)
        for k, n in enumerate([10, 11, 15, 13, 15, 20]):
            topic.push_row(k, n, n)
        topic.push_columns(np.array([6, 7]), {"n": np.array([21, 25])}, seq=np.array([21, 25]))
        with pytest.raises(ValueRefused, match="numbers its messages"):
            topic.push_row(8, None, 1)
    handler = client.sequence_handler("s")
    gaps = [(g["first_seq"], g["count"], g["cause"]) for g in handler.topic("_gaps").to_arrow().to_pylist()]
    assert sorted(gaps) == [
        (12, 1, "producer_seq"),
        (14, 1, "producer_seq"),
        (16, 4, "producer_seq"),
        (22, 3, "producer_seq"),
    ]
    assert handler.topic("t").to_arrow()["n"].to_pylist() == [10, 11, 15, 13, 15, 20, 21, 25]
    assert handler.ledger == {"produced": 17, "written": 8, "dropped": 0, "gapped": 9}
    assert client.verify("s", deep=True) == []


def test_a_gap_that_the_source_knows_of_is_a_row_and_counts(client: gapless.Client) -> None:
    """gap() with a count adds to what was produced; without one it only says that something is missing."""
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=pa.schema([("n", pa.int64())]))
        topic.push_row(1, 1)
        topic.gap(7, "overrun", start_ns=1, end_ns=2)
        topic.gap(None, "pause", start_ns=5, end_ns=6)
    handler = client.sequence_handler("s")
    assert handler.ledger == {"produced": 8, "written": 1, "dropped": 0, "gapped": 7}
    rows = handler.topic("_gaps").to_arrow().select(["timestamp_ns", "count", "end_ns", "cause"]).to_pylist()
    assert [tuple(r.values()) for r in rows] == [(1, 7, 2, "overrun"), (5, None, 6, "pause")]


def test_events_and_notifications_are_durable_rows(client: gapless.Client) -> None:
    """An event is readable from the open sequence as soon as the call returns, data included."""
    with client.sequence_create("s") as seq:
        seq.event("warning", "alarm", "too hot", source="oven", data={"t": 250, "ü": [1]}, timestamp_ns=9)
        seq.notify("look at this")
        live = client.sequence_handler("s").topic("_events").to_arrow().to_pylist()
        assert [row["message"] for row in live] == ["too hot", "look at this"]
    (event, _) = client.sequence_handler("s").topic("_events").to_arrow().to_pylist()
    assert (event["timestamp_ns"], event["severity"], event["kind"], event["source"]) == (
        9,
        "warning",
        "alarm",
        "oven",
    )
    assert json.loads(event["data"]) == {"t": 250, "ü": [1]}
    assert [n.message for n in client.sequence_handler("s").notifications()] == ["look at this"]


def test_artifacts_are_sealed_with_the_sequence(client: gapless.Client, tmp_path: Path) -> None:
    """A file is copied with its digest, a URI is noted; a second of the name and a missing file are refused."""
    source = tmp_path / "weights ü.bin"
    source.write_bytes(b"w" * 3_000_000)
    with client.sequence_create("s") as seq:
        assert seq.add_artifact(source) == "weights ü.bin"
        seq.add_artifact("s3://bucket/video.mp4", name="video", media_type="video/mp4")
        with pytest.raises(NameTaken):
            seq.add_artifact(source)
        with pytest.raises(NotFound):
            seq.add_artifact(tmp_path / "nothing")
        with pytest.raises(NameRefused):
            seq.add_artifact(source, name="a\0b")
        source.write_bytes(b"changed")
    manifest = json.loads((client.path / "sequences" / "s" / "manifest.json").read_bytes())
    entries = manifest["content"]["artifacts"]
    assert sorted(entries) == ["video", "weights ü.bin"]
    assert (
        client.path / "sequences" / "s" / entries["weights ü.bin"]["path"]
    ).read_bytes() == b"w" * 3_000_000
    assert client.verify("s", deep=True) == []


def test_a_layer_adds_rows_and_never_changes_the_base(client: gapless.Client) -> None:
    """Reading gives base and layers, or the base alone; the base's files stay the same bytes."""
    with client.sequence_create("s") as seq:
        seq.log("t", 1.0, timestamp_ns=1)
    base = (client.path / "sequences" / "s" / "manifest.json").read_bytes()
    with client.sequence_update("s") as layer:
        layer.log("t", 2.0, timestamp_ns=0)
        layer.log("new", "x", timestamp_ns=0)
    both = client.sequence_handler("s")
    assert both.topic("t").to_arrow()["value"].to_pylist() == [2.0, 1.0]
    assert sorted(both.topics) == ["new", "t"]
    alone = client.sequence_handler("s", layers=[])
    assert (alone.topics, alone.topic("t").rows) == (["t"], 1)
    assert (client.path / "sequences" / "s" / "manifest.json").read_bytes() == base
    assert client.verify("s", deep=True) == []
    with client.sequence_create("open") as seq, pytest.raises(StateError):
        client.sequence_update("open")


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 201, "a\nb", "@last", 7])
def test_a_bad_sequence_name_is_refused_before_anything_happens(client: gapless.Client, name: Any) -> None:
    """NameRefused, and the store is as it was."""
    with pytest.raises(NameRefused):
        client.sequence_create(name)
    assert client.list_sequences() == []


@pytest.mark.parametrize("name", ["_events", "", "/a", "a//b", "a/", "\ud800"])
def test_a_bad_topic_name_is_refused_and_recording_goes_on(client: gapless.Client, name: str) -> None:
    """NameRefused at that call; other topics are recorded."""
    with client.sequence_create("s") as seq:
        with pytest.raises(NameRefused):
            seq.topic_create(name, schema=MOTION.schema)
        seq.log("fine", 1.0)
    assert client.sequence_handler("s").topics == ["fine"]


@pytest.mark.parametrize(
    "name", ["..", ".", "../../x", "a/b\\c", "con", "COM1.txt", "ü" * 30, "-x", "a b%41", "name."]
)
def test_odd_names_are_legal_and_stay_inside_the_store(
    client: gapless.Client, tmp_path: Path, name: str
) -> None:
    """Any other name is one path component and reads back as itself."""
    with client.sequence_create(name) as seq:
        seq.topic_create(name, schema=COUNTS.schema).push_row(*COUNTS.row(0))
    assert client.list_sequences() == [name]
    assert client.sequence_handler(name).topics == [name]
    assert [p.parent.name for p in client.path.glob("sequences/*/manifest.json")] != [".."]
    assert {p.name for p in tmp_path.iterdir()} == {"store"}


def test_names_are_taken_also_when_only_the_case_differs(client: gapless.Client) -> None:
    """Second sequence or topic of a name: NameTaken, nothing recorded is harmed."""
    with client.sequence_create("Straße") as seq:
        seq.topic_create("IMU", schema=MOTION.schema).push_row(*MOTION.row(0))
        with pytest.raises(NameTaken):
            seq.topic_create("imu", schema=MOTION.schema)
        with pytest.raises(NameTaken):
            client.sequence_create("STRASSE")
    assert client.sequence_handler("Straße").topic("IMU").rows == 1


@pytest.mark.parametrize("metadata", [{"x": object()}, {"x": math.nan}, {1: 2}, {"x": {"y": b"z"}}])
def test_metadata_that_is_not_json_is_refused(client: gapless.Client, metadata: Any) -> None:
    """MetadataRefused at the call, for sequences and topics."""
    with pytest.raises(MetadataRefused):
        client.sequence_create("s", metadata=metadata)
    with client.sequence_create("s") as seq, pytest.raises(MetadataRefused):
        seq.topic_create("t", metadata, schema=MOTION.schema)


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([("timestamp_ns", pa.int64())]),
        pa.schema([("timestamp_ns", pa.float64()), ("x", pa.int8())]),
        pa.schema([("_x", pa.int8())]),
        pa.schema([("x", pa.int8()), ("x", pa.int8())]),
        pa.schema([("x", pa.null())]),
    ],
)
def test_a_schema_that_cannot_be_a_topic_is_refused(client: gapless.Client, schema: pa.Schema) -> None:
    """SchemaRefused at the call; the name stays free."""
    with client.sequence_create("s") as seq:
        with pytest.raises(SchemaRefused):
            seq.topic_create("t", schema=schema)
        seq.log("t", 1.0)
    assert client.sequence_handler("s").topics == ["t"]


def test_an_over_large_record_is_refused_and_others_are_recorded(client: gapless.Client) -> None:
    """RecordTooLarge names the sizes, for a row and for a row within a batch."""
    client._durability = Durability(max_record_bytes=1 << 20)
    with client.sequence_create("s") as seq:
        topic = seq.topic_create(IMAGES.name, schema=IMAGES.schema)
        topic.push_row(*IMAGES.row(0))
        with pytest.raises(RecordTooLarge, match="1,048,576"):
            topic.push_row(1, bytes(2 << 20), [])
        with pytest.raises(RecordTooLarge):
            topic.push_columns([1, 2], {"data": [b"", bytes(20 << 20)], "pose": [[], []]})
        topic.push_row(*IMAGES.row(1))
    assert client.sequence_handler("s").topic(IMAGES.name).to_arrow().equals(IMAGES.table(0, 2))


def test_a_push_after_the_end_is_a_typed_error(client: gapless.Client) -> None:
    """WriterClosed after the block and after topic.close(); entering twice is refused."""
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=NOTES.schema)
        topic.push_row(*NOTES.row(0))
        topic.close()
        with pytest.raises(WriterClosed):
            topic.push_row(*NOTES.row(1))
    closed: list[Callable[[], object]] = [
        lambda: topic.push_row(*NOTES.row(1)),
        lambda: topic.push_batch(NOTES.batch(0, 1)),
        lambda: seq.log("u", 1.0),
        seq.flush,
        lambda: seq.event("info", "k", "m"),
    ]
    for call in closed:
        with pytest.raises(WriterClosed):
            call()
    with pytest.raises(UsageError):
        seq.__enter__()
    assert client.sequence_handler("s").topic("t").rows == 1


def test_durable_rows_and_callbacks_tell_how_far_durability_has_come(client: gapless.Client) -> None:
    """After flush everything pushed is durable; a callback that raises is dropped and its error kept."""
    told: list[int] = []

    def broken(_: int) -> None:
        raise RuntimeError("user code")

    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=MOTION.schema)
        topic.on_durable(told.append)
        topic.on_durable(broken)
        for k in range(100):
            topic.push_row(*MOTION.row(k))
        topic.flush()
        assert topic.durable_rows == 100
        topic.push_batch(MOTION.batch(100, 150))
        seq.flush()
        assert topic.durable_rows == 150
        seq.flush()
        assert isinstance(topic.callback_error, RuntimeError)
    assert told[-1] == 150
    assert told == sorted(told)


def test_a_topic_without_rows_is_a_topic(client: gapless.Client) -> None:
    """It is listed with its schema and reads as an empty table."""
    with client.sequence_create("s") as seq:
        seq.topic_create("t", schema=COUNTS.schema)
    topic = client.sequence_handler("s").topic("t")
    assert (topic.rows, topic.to_arrow().schema.names) == (0, COUNTS.schema.names)
    assert client.verify("s", deep=True) == []


def test_large_values_and_large_blocks_come_back(client: gapless.Client) -> None:
    """Values of megabytes, a block larger than a frame, and a few huge rows among many small ones."""
    blobs = [bytes([k % 256]) * n for k, n in enumerate([5 << 20, 3, 0, 1 << 20, *([1] * 300), 9 << 20])]
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=pa.schema([("b", pa.large_binary())]))
        topic.push_row(0, blobs[0])
        topic.push_columns(list(range(1, len(blobs))), {"b": blobs[1:]})
        wide = seq.topic_create("w", schema=pa.schema([("x", pa.float64())]))
        wide.push_columns(np.arange(200_000), {"x": np.arange(200_000.0)})
    handler = client.sequence_handler("s")
    assert handler.topic("t").to_arrow()["b"].to_pylist() == blobs
    assert handler.topic("w").to_arrow()["x"].to_numpy().tolist() == list(range(200_000))
