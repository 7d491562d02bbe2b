"""The fast lane's rows and the general lane's cells: every value comes back, every other is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.store.cells import batch_value_bytes, build_column, cell_for, row_value_bytes
from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.packing import Layout

TYPES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.bool_(): st.booleans(),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
}


def declaration(schema: pa.Schema, *, producer_seq: bool = False) -> TopicDeclaration:
    """Return a topic of the schema."""
    return TopicDeclaration(16, "t", check_schema(schema, "t"), {}, {}, producer_seq)


@given(st.data())
def test_packed_rows_come_back_with_their_nulls(data: st.DataObject) -> None:
    """Any fixed-width types, up to a hundred columns, any nulls: the columns are the rows."""
    kinds = data.draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=100))
    schema = pa.schema([pa.field(f"c{i}", kind) for i, kind in enumerate(kinds)])
    layout = Layout(declaration(schema))
    rows = [
        tuple(data.draw(st.none() | TYPES[kind]) for kind in kinds)
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    payload = b"".join(layout.slow_row("s", 10 + k, None, row) for k, row in enumerate(rows))
    batch = layout.columns(payload, 5)
    assert batch.column(0).to_pylist() == [10 + k for k in range(len(rows))]
    assert batch.column("_seq").to_pylist() == [5 + k for k in range(len(rows))]
    for i, kind in enumerate(kinds):
        assert batch.column(f"c{i}").to_pylist() == pa.array([row[i] for row in rows], kind).to_pylist()


def test_a_text_column_has_no_fixed_width() -> None:
    """Such topics use the general lane."""
    assert Layout.of(declaration(pa.schema([("x", pa.string())]))) is None
    assert Layout.of(declaration(pa.schema([("x", pa.float16())]))) is not None


@pytest.mark.parametrize(
    ("kind", "good", "stored"),
    [
        (pa.string(), "ü€", "ü€"),
        (pa.binary(), bytearray(b"x\0"), b"x\0"),
        (pa.large_binary(), np.arange(3, dtype=np.uint8), b"\0\1\2"),
        (pa.list_(pa.float64()), [1, 2.5], [1.0, 2.5]),
        (pa.list_(pa.int16()), np.array([1, -2]), [1, -2]),
        (pa.list_(pa.float32(), 2), (1.0, 2.0), [1.0, 2.0]),
        (pa.large_list(pa.bool_()), [True, False], [True, False]),
        (pa.struct([("a", pa.int8()), ("b", pa.string())]), {"a": 1, "b": "x"}, {"a": 1, "b": "x"}),
        (pa.list_(pa.string()), ["a", None], ["a", None]),
        (pa.int32(), np.int16(4), 4),
        (pa.float64(), 3, 3.0),
        (pa.timestamp("ns"), np.datetime64(5, "ns"), pa.scalar(5, pa.timestamp("ns")).as_py()),
    ],
)
def test_a_cell_is_copied_and_comes_back(kind: pa.DataType, good: Any, stored: Any) -> None:
    """Values, and nulls beside them, become the column that was meant."""
    column = pa.field("c", kind)
    cell, _ = cell_for(column)(good)
    array = build_column(column, [cell, None, cell])
    assert array.type == kind
    found = array.to_pylist()
    assert found[1] is None
    assert found[0] == found[2] == (stored if not hasattr(found[0], "value") else found[0])


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (pa.string(), b"x"),
        (pa.string(), 1),
        (pa.string(), "\ud800"),
        (pa.binary(), "x"),
        (pa.list_(pa.float64()), "12"),
        (pa.list_(pa.float64()), [[1.0]]),
        (pa.list_(pa.float64()), ["a"]),
        (pa.list_(pa.float32(), 2), [1.0]),
        (pa.list_(pa.int8()), [1000]),
        (pa.list_(pa.int64()), [0.5]),
        (pa.struct([("a", pa.int8())]), {"a": "x"}),
        (pa.bool_(), 1),
        (pa.int8(), 200),
        (pa.int64(), 1.0),
        (pa.int64(), "1"),
    ],
)
def test_a_cell_that_does_not_fit_is_refused(kind: pa.DataType, bad: Any) -> None:
    """TypeError, ValueError or OverflowError: the lane names the field."""
    with pytest.raises((TypeError, ValueError, OverflowError)):
        cell_for(pa.field("c", kind))(bad)


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "bcd", ""] * 3),
        pa.array([[1.0], None, [], [1, 2, 3]] * 3, pa.list_(pa.float64())),
        pa.array([["ab", None], None, [], ["c"]] * 3, pa.list_(pa.string())),
        pa.array([["ab", "c"], None, [None, "x"], ["", ""]] * 3, pa.list_(pa.string(), 2)),
        pa.array([[1, 2], None, [None, 2], [0, 0]] * 3, pa.list_(pa.int16(), 2)),
        pa.array([{"a": 1, "b": "xy"}, None, {"a": None, "b": None}, {"a": 2, "b": ""}] * 3),
        pa.array([True, None, False, True] * 3),
        pa.array(["x", "yy", None, "x"] * 3).dictionary_encode(),
        pa.array([[("a", 1)], None, [], [("b", 2), ("cc", 3)]] * 3, pa.map_(pa.string(), pa.int64())),
    ],
)
def test_the_bytes_of_a_row_do_not_depend_on_the_frame_it_came_in(array: pa.Array) -> None:
    """Counted one by one, in slices or all at once: row-group cuts are the same."""
    whole = row_value_bytes(array).tolist()
    assert [int(row_value_bytes(array.slice(k, 1))[0]) for k in range(len(array))] == whole
    copied = [
        int(row_value_bytes(pa.array(array.slice(k, 1).to_pylist(), array.type))[0])
        for k in range(len(array))
    ]
    assert copied == whole
    batch = pa.record_batch({"x": array, "_seq": pa.array(range(len(array)))})
    assert batch_value_bytes(batch).tolist() == whole


def test_nan_in_a_field_that_refuses_it_is_refused_by_both_lanes() -> None:
    """The message names NaN."""
    column = pa.field("c", pa.float64(), metadata={"allow_nan": "false"})
    with pytest.raises(ValueError, match="NaN"):
        cell_for(column)(math.nan)
    layout = Layout(declaration(pa.schema([column])))
    with pytest.raises(Exception, match="NaN"):
        layout.slow_row("s", 0, None, (math.nan,))
