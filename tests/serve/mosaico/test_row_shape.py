"""Rows keep every value on the way from the SDK into the store and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless import connect
from gapless.errors import SchemaRefused, ValueRefused
from gapless.model.ontology import IMU, HeaderMixin, Polygon, Vector3d
from gapless.model.ontology.geometry import Point3d
from gapless.serve.mosaico.nesting import members
from gapless.serve.mosaico.row_shape import UNMODELED, arriving, full_type, leaving
from gapless.serve.mosaico.types import TAGS, row_type

from .random_rows import TIME, random_batch

ROWS = 7


@pytest.mark.parametrize("tag", TAGS)
def test_every_type_comes_back_as_it_was_sent(tag: str) -> None:
    """Stored flat and made into structs again, no value is another."""
    kind = row_type(tag)
    assert kind is not None
    sent = random_batch(kind, ROWS)
    shape = arriving(tag, "default", sent.schema, "a/b")
    stored = shape.store(sent)
    stored.validate(full=True)
    back = shape.send(stored)
    back.validate(full=True)
    assert back.schema.equals(sent.schema)
    assert back.to_pylist() == sent.to_pylist()


@pytest.mark.parametrize("tag", TAGS)
def test_our_full_type_has_exactly_the_columns_of_theirs(tag: str) -> None:
    """Nothing that the SDK sends has no column, and no column is never filled."""
    kind = row_type(tag)
    assert kind is not None
    assert {leaf.name for leaf in full_type(tag).leaves()} == {member.path for member in members(kind)}


def test_a_slice_of_a_batch_is_converted_like_the_whole() -> None:
    """Offsets of slices are respected both ways."""
    kind = row_type("RobotPath")
    assert kind is not None
    whole = random_batch(kind, ROWS, seed=3)
    shape = arriving("RobotPath", "default", whole.schema, "path")
    part = whole.slice(2, 3)
    assert shape.send(shape.store(part)).to_pylist() == part.to_pylist()
    assert shape.send(shape.store(whole).slice(2, 3)).to_pylist() == part.to_pylist()


@pytest.mark.parametrize(
    "tag", ["IMU", "RobotPath", "FrameTransform", "Polygon", "PointCloud2", "CameraInfo"]
)
def test_what_the_sdk_sent_reads_as_our_objects(tag: str, tmp_path: Path) -> None:
    """A reader of ours gets objects of the type with all mixins, also in lists."""
    kind = row_type(tag)
    assert kind is not None
    sent = random_batch(kind, ROWS, seed=1)
    shape = arriving(tag, "default", sent.schema, "t")
    with connect(tmp_path) as client:
        _record(client, shape, sent)
        topic = client.sequence_handler("s").topic("t")
        assert topic.ontology_type is full_type(tag)
        found = [message.data for message in topic]
        assert len(found) == ROWS
        assert all(isinstance(value, full_type(tag)) for value in found)
        assert leaving(topic.reader).travelling.equals(sent.schema, check_metadata=True)


def _record(client: Any, shape: Any, sent: pa.RecordBatch) -> None:
    """Write rows of a shape into the sequence s, topic t, as the door does."""
    from gapless.client.local_recording import LocalRecording
    from gapless.store.declaration import TopicDeclaration

    header = client._header("s", None, {}, None)
    recording = LocalRecording.begin(client, "s", None, header, client._durability)
    state = recording.declare(TopicDeclaration(16, "t", shape.stored, shape.ontology))
    recording.lane(state).push_batch(shape.store(sent))
    recording.close({"outcome": "completed", "cause": None})
    recording.seal()
    recording.release()


def test_rows_of_our_lean_type_are_widened(tmp_path: Path) -> None:
    """What our type does not have is null for the SDK."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("imu", ontology_type=IMU)
            topic.push(timestamp_ns=1, data=IMU(Vector3d(1.0, 2.0, 3.0), Vector3d(4.0, 5.0, 6.0)))
            path = seq.topic_create("area", ontology_type=Polygon)
            path.push(timestamp_ns=1, data=Polygon([Point3d(1.0, 2.0, 3.0)]))
        handler = client.sequence_handler("s")
        reader = handler.topic("imu").reader
        shape = leaving(reader)
        [row] = [row for batch in reader.scan() for row in shape.send(batch).to_pylist()]
        assert pa.struct(list(shape.travelling)[1:]).equals(row_type("IMU"))
        assert row["header"] is None
        assert row["orientation"] is None
        assert row["acceleration"] == {
            "header": None, "covariance": None, "covariance_type": None, "x": 1.0, "y": 2.0, "z": 3.0,
        }  # fmt: skip
        area = handler.topic("area").reader
        [row] = [row for batch in area.scan() for row in leaving(area).send(batch).to_pylist()]
        assert row["points"][0]["y"] == 2.0
        assert row["points"][0]["header"] is None


def test_a_required_value_that_our_rows_lack_is_refused_not_invented(tmp_path: Path) -> None:
    """An IMU of ours may lack the rates; theirs may not."""
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            seq.topic_create("imu", ontology_type=IMU).push(timestamp_ns=1, data=IMU(Vector3d(1.0, 2.0, 3.0)))
        reader = client.sequence_handler("s").topic("imu").reader
        shape = leaving(reader)
        with pytest.raises(ValueRefused, match="angular_velocity"):
            [shape.send(batch) for batch in reader.scan()]


def test_columns_beyond_the_type_of_the_sdk_are_not_left_out(tmp_path: Path) -> None:
    """They come as structs of their own instead."""
    wide = Polygon.using(points=(HeaderMixin,))
    odd = IMU.using(orientation=(HeaderMixin,))
    with connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            seq.topic_create(
                "plain", schema=pa.schema([pa.field("a.x", pa.int8()), pa.field("b", pa.string())])
            )
            seq.topic_create("area", ontology_type=wide)
            seq.topic_create("imu", ontology_type=odd)
        handler = client.sequence_handler("s")
        plain = leaving(handler.topic("plain").reader)
        assert plain.tag == UNMODELED
        assert plain.travelling.field("a").type == pa.struct([pa.field("x", pa.int8())])
        assert leaving(handler.topic("area").reader).travelling.names == ["timestamp_ns", "header", "points"]
        assert leaving(handler.topic("imu").reader).tag == "IMU"
        assert handler.topic("area").ontology_type is wide


def test_an_unknown_type_is_stored_under_its_tag_with_what_was_sent_kept() -> None:
    """Structs become columns that queries reach, and structs again."""
    kind = pa.struct(
        [
            pa.field(
                "gyro", pa.struct([pa.field("x", pa.float32(), nullable=False), pa.field("y", pa.float64())])
            ),
            pa.field("words", pa.map_(pa.string(), pa.int64()), metadata={"description": "counts"}),
            pa.field("code", pa.string_view(), nullable=False),
        ]
    )
    sent = pa.RecordBatch.from_pylist(
        [
            {"timestamp_ns": 1, "gyro": {"x": 1.5, "y": None}, "words": [("a", 1)], "code": "p"},
            {"timestamp_ns": 2, "gyro": None, "words": None, "code": "q"},
        ],
        schema=pa.schema([TIME, *kind]),
    )
    shape = arriving("gyro_raw", "ragged", sent.schema, "t")
    assert shape.stored.names == ["timestamp_ns", "gyro.x", "gyro.y", "words", "code"]
    assert shape.ontology["tag"] == "gyro_raw"
    back = shape.send(shape.store(sent))
    assert back.schema.equals(sent.schema, check_metadata=True)
    assert back.to_pylist() == sent.to_pylist()


@pytest.mark.parametrize(
    "schema",
    [
        pa.schema([pa.field("x", pa.int64())]),
        pa.schema([pa.field("timestamp_ns", pa.int32(), nullable=False), pa.field("x", pa.int64())]),
        pa.schema([TIME]),
        pa.schema([TIME, pa.field("_x", pa.int64())]),
        pa.schema([TIME, pa.field("x", pa.dictionary(pa.int8(), pa.string()))]),
        pa.schema([TIME, TIME, pa.field("x", pa.int64())]),
        pa.schema([TIME, pa.field("x", pa.int64()), pa.field("x", pa.int64())]),
        pa.schema([TIME, pa.field("x", pa.list_(pa.struct([("a", pa.int8()), ("a", pa.int8())])))]),
        pa.schema([TIME, pa.field("x", pa.struct([]))]),
        pa.schema([TIME, pa.field("a.b", pa.int8()), pa.field("a", pa.struct([pa.field("b", pa.int8())]))]),
    ],
)
def test_a_schema_that_cannot_be_stored_is_refused(schema: pa.Schema) -> None:
    """Before anything is declared."""
    with pytest.raises(SchemaRefused):
        arriving("t", "default", schema, "topic")


def test_a_batch_of_another_schema_and_a_null_that_may_not_be_are_refused() -> None:
    """None of their rows is taken."""
    kind = row_type("Pressure")
    assert kind is not None
    sent = random_batch(kind, ROWS)
    shape = arriving("Pressure", "default", sent.schema, "t")
    with pytest.raises(SchemaRefused):
        shape.store(sent.select(["timestamp_ns", "value"]))
    nulls = sent.set_column(4, sent.schema.field("value"), pa.nulls(ROWS, pa.float64()))
    with pytest.raises(ValueRefused, match="value"):
        shape.store(nulls)


def test_a_time_that_a_part_could_not_hold_is_refused_before_it_is_recorded() -> None:
    """Parts keep milliseconds: the seal would meet it, when nothing can be done any more."""
    schema = pa.schema([TIME, pa.field("at", pa.timestamp("s"))])
    shape = arriving("Own", "default", schema, "t")
    for seconds, fits in ((2**40, True), (2**62, False)):
        batch = pa.RecordBatch.from_arrays(
            [pa.array([1]), pa.array([seconds]).cast(pa.timestamp("s"))], schema=schema
        )
        if fits:
            assert shape.send(shape.store(batch)).equals(batch)
        else:
            with pytest.raises(ValueRefused, match="at"):
                shape.store(batch)
