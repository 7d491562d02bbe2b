"""What the seal could not store is refused when it is pushed or declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.client.client import connect
from gapless.errors import SchemaRefused, ValueRefused
from gapless.store.reader import open_bundle
from gapless.store.storable import is_suspect, refusal

C = pa.field("c", pa.int64(), nullable=False)
STRUCT = pa.struct([C])
LIST = pa.list_(pa.field("item", pa.int64(), nullable=False))
MAP = pa.map_(pa.string(), pa.field("value", pa.int64(), nullable=False))
DEEP = pa.list_(pa.struct([pa.field("l", LIST)]))


def struct_of(values: list[int | None], mask: list[bool]) -> pa.Array:
    """Return a struct column whose member has nulls."""
    return pa.StructArray.from_arrays([pa.array(values, pa.int64())], fields=[C], mask=pa.array(mask))


BAD = [
    struct_of([1, None], [False, False]),
    struct_of([1, None], [False, True]),
    pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array([1, None], pa.int64()), type=LIST),
    pa.FixedSizeListArray.from_arrays(pa.array([1, None, 3, 4]), type=pa.list_(C, 2)),
    pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), ["a", "b"], pa.array([1, None]), MAP),
    pa.array([0, 2**62], pa.timestamp("s")),
    pa.array([0, 86_400_000 * 2**33], pa.int64()).view(pa.date64()),
]
GOOD = [
    pa.array([{"c": 1}, None], STRUCT),
    pa.array([[1, 2], None], LIST),
    pa.array([[("a", 1)], None], MAP),
    pa.array([[{"l": [1]}], [{"l": None}]], DEEP),
    pa.array([0, 2**35], pa.timestamp("s")),
    pa.array([0, 86_400_000 * 2**20], pa.int64()).view(pa.date64()),
    struct_of([None, 1], [False, False]).slice(1).take(pa.array([0, 0])),
]


def pushed(path: Path, array: pa.Array) -> None:
    """Record two rows and seal."""
    schema = pa.schema([pa.field("x", array.type)])
    with connect(path) as client, client.sequence_create("run") as seq:
        topic = seq.topic_create("t", schema=schema)
        topic.push_columns([1, 2], {"x": array})


@pytest.mark.parametrize("array", BAD, ids=lambda array: str(array.type))
def test_what_a_part_cannot_hold_is_refused_at_the_push(tmp_path: Path, array: pa.Array) -> None:
    """ValueRefused names the column; nothing of the block is taken."""
    array.validate(full=True)
    assert is_suspect(array.type)
    assert refusal(array) is not None
    with pytest.raises(ValueRefused, match="field 'x'"):
        pushed(tmp_path, array)


@pytest.mark.parametrize("array", GOOD, ids=lambda array: str(array.type))
def test_what_a_part_can_hold_is_stored(tmp_path: Path, array: pa.Array) -> None:
    """Nulls where they are allowed, also above what may not be null; slices of columns with other rows."""
    assert refusal(array) is None
    pushed(tmp_path, array)
    found = open_bundle(tmp_path / "sequences" / "run").topic("t").to_arrow()["x"]
    assert found.to_pylist() == array.to_pylist()


@pytest.mark.parametrize("value", [{"c": None}, {}])
def test_a_row_with_a_null_inside_is_refused(tmp_path: Path, value: dict[str, Any]) -> None:
    """Plain values of single rows as well."""
    with connect(tmp_path) as client, client.sequence_create("run") as seq:
        topic = seq.topic_create("t", schema=pa.schema([pa.field("x", STRUCT)]))
        with pytest.raises(ValueRefused):
            topic.push_row(1, value)
        topic.push_row(2, {"c": 1})
    assert open_bundle(tmp_path / "sequences" / "run").topic("t").rows == 1


def nested(depth: int) -> pa.DataType:
    """Return lists in lists."""
    kind = pa.int64()
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


@pytest.mark.parametrize(
    "kind",
    [pa.binary(0), pa.list_(pa.int64(), 0), pa.decimal128(5, -2), nested(33)],
    ids=lambda kind: str(kind)[:20],
)
def test_a_type_that_a_part_cannot_hold_is_refused(tmp_path: Path, kind: pa.DataType) -> None:
    """SchemaRefused when the topic is declared."""
    with connect(tmp_path) as client, client.sequence_create("run") as seq:
        with pytest.raises(SchemaRefused):
            seq.topic_create("t", schema=pa.schema([pa.field("x", kind)]))
        seq.topic_create("u", schema=pa.schema([pa.field("x", nested(32))])).push_row(1, None)
