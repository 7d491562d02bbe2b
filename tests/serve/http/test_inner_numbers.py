"""Numbers inside of columns: what is offered for a curve is there, and is drawn as it was recorded."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gapless import connect
from gapless.serve.http.drawn_field import DrawnRows, draw, find
from gapless.serve.http.inner_numbers import ANY, InnerNumber, inner_numbers
from gapless.store.pyramid_read import downsample

ROWS = 60
KINDS = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(), pa.bool_(),
]  # fmt: skip


def column(name: str, kind: pa.DataType, **words: str) -> pa.Field:
    """Return a field with words."""
    return pa.field(name, kind, metadata=words)


def offered(*columns: pa.Field) -> list[tuple[str, tuple[int | None, ...]]]:
    """Return names and lengths of what columns have."""
    return [(number.name, number.lengths) for number in inner_numbers(pa.schema(columns))]


def test_members_and_elements_are_offered() -> None:
    """Nested as deep as they are, with the lengths that are known."""
    deep = pa.list_(pa.list_(pa.bool_(), 2))
    assert offered(
        pa.field("timestamp_ns", pa.int64()),
        column("x", pa.float64()),
        column("pose", pa.struct([("position", pa.struct([("x", pa.float64()), ("y", pa.float32())]))])),
        column("items", pa.large_list(pa.struct([("score", pa.float16()), ("deep", deep)]))),
        column("free", pa.list_(pa.int64())),
        column("fixed", pa.list_(pa.int64(), 6), shape="[2, 3]"),
        column("declared", pa.list_(pa.int64()), shape="[2, 3]"),
        column("unclear", pa.list_(pa.int64()), shape="[-1]"),
    ) == [
        ("pose.position.x", ()),
        ("pose.position.y", ()),
        ("items[*].score", (None,)),
        ("items[*].deep[*][*]", (None, None, 2)),
        ("free[*]", (None,)),
        ("fixed[*]", (6,)),
        ("declared[*]", (6,)),
        ("unclear[*]", (None,)),
    ]


def test_what_no_name_leads_to_is_not_offered() -> None:
    """No texts, maps or empty lists, and no name that means another column or nothing at all."""
    flag = pa.struct([("ok", pa.bool_()), ("word", pa.string()), ("a.b", pa.int8()), ("a[b", pa.int8())])
    assert (
        offered(
            column("flag", flag),
            column("flag.ok", pa.string()),
            column("none", pa.list_(pa.float64(), 0)),
            column("bytes", pa.list_(pa.binary())),
            column("map", pa.map_(pa.string(), pa.int64())),
            column("d", pa.list_(pa.int8())),
            column("d[3]", pa.string()),
            column("[*]", pa.list_(pa.int8())),
            column("twice", pa.struct([("x", pa.int8()), ("x", pa.int8())])),
        )
        == []
    )


def test_the_nearest_words_count() -> None:
    """A member's own, or else those of what holds it."""
    weight = column("weight", pa.list_(pa.float64()), unit="g")
    outer = column("load", pa.struct([weight, pa.field("at", pa.float64())]), unit="m", description="on top")
    found = inner_numbers(pa.schema([outer]))
    assert [(number.name, number.unit, number.description) for number in found] == [
        ("load.weight[*]", "g", "on top"),
        ("load.at", "m", "on top"),
    ]


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "open"])
def test_whatever_is_offered_is_drawn_as_it_was_recorded(tmp_path: Path, is_sealed: bool) -> None:
    """Every type of number in every kind of column, with nulls on the way and lists of any length."""
    columns = [pa.field(f"{kind}{n}", nested) for kind in KINDS for n, nested in enumerate(nestings(kind))]
    schema = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *columns])
    rows = {field.name: [value(field.type, n) for n in range(ROWS)] for field in columns}
    drawn = 0
    with connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=schema)
            arrays = {field.name: pa.array(rows[field.name], field.type) for field in columns}
            topic.push_columns(np.arange(ROWS, dtype=np.int64), arrays)
            sequence.flush()
            if not is_sealed:
                drawn = compare(client.sequence_handler("s").reader, schema, rows)
        if is_sealed:
            drawn = compare(client.sequence_handler("s").reader, schema, rows)
    assert drawn == len(KINDS) * 14


def compare(bundle: Any, schema: pa.Schema, rows: dict[str, list[Any]]) -> int:
    """Draw the first elements of all that is offered, few rows and buckets; return how many names it were."""
    names = [(number, name) for number in inner_numbers(schema) for name in named(number)]
    for number, name in names:
        reader, leaf = find(bundle, f"t:{name}", lambda: False)
        found = draw(reader, leaf, 2 * ROWS, None, None).found
        expected = [
            float(one) for row in rows[number.column] if (one := reached(row, leaf.steps)) is not None
        ]
        assert isinstance(found, DrawnRows)
        assert found.values.astype(float).tolist() == expected, name
        buckets = downsample(reader, name, 10)
        assert (buckets.minimum.min(), buckets.maximum.max()) == (min(expected), max(expected)), name
    return len(names)


def named(number: InnerNumber) -> list[str]:
    """Return the names of its first two elements in each list."""
    first, *rest = number.name.split(ANY)
    choices = product(*([f"[{place}]{part}" for place in range(2)] for part in rest))
    return [first + "".join(choice) for choice in choices]


def nestings(kind: pa.DataType) -> list[pa.DataType]:
    """Return columns with that number inside: 14 names with two elements of each list."""
    return [
        pa.struct([("a", kind), ("b", pa.struct([("c", kind)]))]),
        pa.list_(kind),
        pa.large_list(kind),
        pa.list_(kind, 3),
        pa.list_(pa.struct([("x", kind)])),
        pa.struct([("l", pa.list_(pa.list_(kind, 2)))]),
    ]


def value(kind: pa.DataType, n: int) -> Any:
    """Return a value of a row; each fifth is null, at any depth."""
    if n % 5 == 4:
        return None
    if pa.types.is_struct(kind):
        return {member.name: value(member.type, n + 1) for member in kind}
    if pa.types.is_fixed_size_list(kind):
        return [value(kind.value_type, n + place) for place in range(kind.list_size)]
    if kind.num_fields:
        return [value(kind.value_type, n + place) for place in range(n % 4)]
    if pa.types.is_float16(kind):
        return np.float16(n)
    return n % 2 == 0 if pa.types.is_boolean(kind) else n


def reached(row: Any, steps: tuple[str | int, ...]) -> Any:
    """Return what steps lead to in a row, None where they lead nowhere."""
    for step in steps:
        if row is None or (isinstance(step, int) and step >= len(row)):
            return None
        row = row[step]
    return row
