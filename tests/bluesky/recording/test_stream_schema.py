"""A stream's columns follow from its first descriptor."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bluesky.recording.run_documents import data_key, descriptor_document, start_document

from gapless.bluesky.stream_schema import StreamSchema, column_names


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({"dtype": "number"}, pa.float64()),
        ({"dtype": "integer"}, pa.int64()),
        ({"dtype": "boolean"}, pa.bool_()),
        ({"dtype": "string", "choices": ["a", "b"]}, pa.string()),
        ({"dtype": "number", "dtype_numpy": "<i4"}, pa.int64()),
        ({"dtype": "integer", "dtype_numpy": "<f8"}, pa.float64()),
        ({"dtype": "integer", "dtype_numpy": "<u8"}, pa.uint64()),
        ({"dtype": "array", "shape": [4]}, pa.list_(pa.float64())),
        ({"dtype": "array", "shape": [2, 3], "dtype_numpy": "<u2"}, pa.list_(pa.uint16())),
        ({"dtype": "array", "shape": [2], "dtype_numpy": "<U8"}, pa.list_(pa.string())),
        ({"dtype": "array", "shape": [2], "dtype_numpy": [["x", "<f8"], ["n", "<i4"]]}, pa.string()),
        ({"dtype": "something"}, pa.string()),
    ],
)
def test_types_come_from_the_descriptor(words: dict[str, object], kind: pa.DataType) -> None:
    """dtype_numpy before dtype; what neither tells is text of lossless JSON."""
    descriptor = descriptor_document(start_document(), {"x": {"source": "s", "shape": [], **words}})
    schema = StreamSchema.of(descriptor).schema
    assert schema.field("x").type == kind
    assert schema.field("ts_x").type == pa.float64()
    assert schema.names[:4] == ["seq_num", "time", "uid", "descriptor"]


def test_units_source_and_shape_are_facts_of_the_field() -> None:
    """External keys have no column."""
    descriptor = descriptor_document(
        start_document(),
        {"x": data_key("array", (2, 3), units="mm"), "image": data_key("array", (4, 4), external="STREAM:")},
    )
    made = StreamSchema.of(descriptor)
    assert made.external == {"image"}
    assert "image" not in made.schema.names
    assert made.schema.field("x").metadata == {b"unit": b"mm", b"description": b"SIM:x", b"shape": b"[2,3]"}


@given(
    st.lists(
        st.sampled_from(["x", "ts_x", "ts_ts_x", "_x", "x_", "uid", "time", "_", "__", "ts_", "ts_x_"]),
        unique=True,
    )
)
def test_every_key_gets_columns_of_its_own(keys: list[str]) -> None:
    """None is taken twice, none is one of the stream's own, and a plain key keeps its name."""
    names = column_names(keys)
    columns = [column for pair in names.values() for column in pair]
    assert len(set(columns)) == 2 * len(keys)
    assert not set(columns) & {"seq_num", "time", "uid", "descriptor", "timestamp_ns"}
    assert not any(column.startswith("_") or not column for column in columns)
    if "x" in keys:
        assert names["x"] == ("x", "ts_x")
