"""Names of values in rows: columns, members, elements."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gapless.errors import NotFound, UsageError
from gapless.store.leaf import Leaf

ITEM = pa.struct([("score", pa.float32()), ("ok", pa.bool_())])
SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64()),
        pa.field("a", pa.struct([("b", pa.int8()), ("c", pa.list_(pa.uint64()))]), metadata={"unit": "V"}),
        pa.field("a.b", pa.float64(), metadata={"unit": "m", "uncertainty": "0.5"}),
        pa.field("fixed", pa.list_(pa.float64(), 3)),
        pa.field("items", pa.large_list(ITEM)),
        pa.field("word", pa.string()),
    ]
)
ROWS = [
    (0, {"b": 1, "c": [2**63, 1]}, 0.25, [1.0, 2.0, 3.0], [{"score": 0.5, "ok": True}], "x"),
    (1, {"b": None, "c": []}, 1.5, None, [], None),
    (2, None, 2.5, [4.0, None, 6.0], None, "y"),
    (3, {"b": 4, "c": [7, 8, 9]}, 3.5, [7.0, 8.0, 9.0], [{"score": 1.5, "ok": False}, {"score": 2.5, "ok": None}], "z"),
]  # fmt: skip


def batch() -> pa.RecordBatch:
    """Return the rows."""
    columns = [pa.array(values, f.type) for values, f in zip(zip(*ROWS, strict=True), SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.b", [0.25, 1.5, 2.5, 3.5]),  # the column of that name, not the member
        ("a.c[0]", [2**63, None, None, 7]),
        ("a.c[2]", [None, None, None, 9]),
        ("fixed[1]", [2.0, None, None, 8.0]),
        ("items[0].score", [0.5, None, None, 1.5]),
        ("items[1].ok", [None, None, None, None]),
        ("word", ["x", None, "y", "z"]),
    ],
)
def test_a_leaf_gives_its_values(name: str, values: list[object]) -> None:
    """Null wherever the way leads nowhere; also in a batch that is part of another."""
    leaf = Leaf.of(SCHEMA, name, "t")
    assert leaf.values(batch()).to_pylist() == values
    assert leaf.values(batch().slice(1, 2)).to_pylist() == values[1:3]


@pytest.mark.parametrize(
    "name",
    ["b", "a.x", "a.", "a[0]", "fixed[3]", "fixed[-1]", "fixed[1", "fixed.1", "items.score", "word.x", "timestamp_ns"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(name: str) -> None:
    """A name that leads nowhere in any row is an error that lists the columns."""
    with pytest.raises(NotFound, match=r"one of a, a\.b, fixed, items, word"):
        Leaf.of(SCHEMA, name, "t")


def test_a_leaf_says_what_its_column_declares() -> None:
    """Unit and uncertainty are the column's."""
    assert (Leaf.of(SCHEMA, "a.b", "t").unit, Leaf.of(SCHEMA, "a.b", "t").uncertainty) == ("m", "0.5")
    assert (Leaf.of(SCHEMA, "a.c[0]", "t").unit, Leaf.of(SCHEMA, "word", "t").unit) == ("V", None)


def test_a_member_says_its_own_unit() -> None:
    """What is declared nearest to the value counts."""
    weight = pa.field("weight", pa.list_(pa.float64()), metadata={"unit": "g"})
    column = pa.field("a", pa.struct([weight, pa.field("b", pa.int8())]), metadata={"unit": "m"})
    units = [Leaf.of(pa.schema([column]), name, "t").unit for name in ("a.weight[2]", "a.b")]
    assert units == ["g", "m"]


def test_numbers_are_not_rounded() -> None:
    """Unsigned stay unsigned, float32 widens exactly, bool counts, null is 0."""
    for name, kind, values in [
        ("a.c[0]", np.uint64, [2**63, 0, 0, 7]),
        ("items[0].score", np.float64, [0.5, 0, 0, 1.5]),
        ("items[0].ok", np.int64, [1, 0, 0, 0]),
    ]:
        leaf = Leaf.of(SCHEMA, name, "t")
        numbers = leaf.numbers(leaf.values(batch()))
        assert numbers.dtype == np.dtype(kind)
        assert numbers.tolist() == values


def test_text_is_no_number() -> None:
    """It is told apart before anything is read."""
    leaf = Leaf.of(SCHEMA, "word", "t")
    assert leaf.is_text
    assert not leaf.is_number
    with pytest.raises(UsageError, match="not a number"):
        leaf.numbers(leaf.values(batch()))
