"""Columns and batches take what rows take: nothing is left out, cut or made infinite on the way in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.errors import ValueRefused

POINT = pa.struct([("x", pa.float64()), ("y", pa.float64())])
STRANGE = {"x": 1.0, "z": 9.0}
Push = Callable[[Any, Any], None]


def by_columns(topic: Any, value: Any) -> None:
    """Push a list of one value."""
    topic.push_columns([1], {"v": [value]})


def by_array(topic: Any, value: Any) -> None:
    """Push an Arrow array of one value, of the type that it has."""
    topic.push_columns([1], {"v": pa.array([value])})


def by_batch(topic: Any, value: Any) -> None:
    """Push a table of one row."""
    topic.push_batch(pa.table({"timestamp_ns": [1], "v": [value]}))


def by_row(topic: Any, value: Any) -> None:
    """Push one row."""
    topic.push_row(1, value)


def pushed(root: Path, kind: pa.DataType, *pushes: Callable[[Any], None]) -> list[Any]:
    """Return what is stored after pushes to a topic with one column."""
    with gapless.connect(root) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=pa.schema([("v", kind)]))
            for push in pushes:
                push(topic)
        return list(client.sequence_handler("s").topic("t").to_arrow()["v"].to_pylist())


@pytest.mark.parametrize("push", [by_columns, by_array, by_batch, by_row])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.float32(), 1e300),
        (pa.float32(), -1e39),
        (pa.float16(), 1e6),
        (pa.float16(), 100_000),
        (pa.list_(pa.float32()), [1.0, 1e300]),
        (pa.list_(pa.float32(), 2), [1.0, 1e300]),
        (pa.list_(pa.list_(pa.float32())), [[1e300]]),
        (pa.struct([("x", pa.float32())]), {"x": 1e300}),
        (POINT, STRANGE),
        (pa.list_(POINT), [STRANGE]),
        (pa.struct([("p", POINT)]), {"p": STRANGE}),
    ],
    ids=str,
)
def test_what_a_column_cannot_hold_is_refused(
    tmp_path: Path, kind: pa.DataType, value: Any, push: Push
) -> None:
    """By each way in, with the field's name; nothing is stored."""

    def refused(topic: Any) -> None:
        with pytest.raises(ValueRefused) as caught:
            push(topic, value)
        assert caught.value.topic == "t"

    assert pushed(tmp_path, kind, refused) == []


@pytest.mark.parametrize("values", [np.array([1e300]), np.array([[1.0, 1e300]])], ids=["flat", "rows"])
def test_an_array_of_numbers_that_are_too_large_is_refused(tmp_path: Path, values: Any) -> None:
    """An array of NumPy, of one dimension or more."""
    kind = pa.float32() if values.ndim == 1 else pa.list_(pa.float32(), 2)

    def refused(topic: Any) -> None:
        with pytest.raises(ValueRefused, match="too large"):
            topic.push_columns([1], {"v": values})

    assert pushed(tmp_path, kind, refused) == []


@pytest.mark.parametrize("push", [by_columns, by_row])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.uint64(), 2**64 - 1),
        (pa.map_(pa.string(), pa.int64()), [("a", 1)]),
        (pa.struct([("x", pa.uint64())]), {"x": 2**64 - 1}),
        (pa.list_(pa.uint64()), [2**64 - 1]),
        (pa.float32(), float("inf")),
        (pa.list_(pa.list_(pa.float16())), [[float("inf"), 1.0]]),
        (pa.map_(pa.string(), pa.float32()), [("a", float("-inf"))]),
        (POINT, {"x": 1.0, "y": None}),
    ],
    ids=str,
)
def test_what_a_column_can_hold_is_taken(tmp_path: Path, kind: pa.DataType, value: Any, push: Push) -> None:
    """Infinities that were given, integers of 64 bits without sign, maps of pairs."""
    assert pushed(tmp_path, kind, lambda topic: push(topic, value)) == [value]


@pytest.mark.parametrize("values", [[2**64 - 1, 1.5], [2**64 - 1, "1"], [2**64, 0]], ids=str)
def test_a_list_whose_type_cannot_be_told_is_taken_row_by_row(tmp_path: Path, values: list[Any]) -> None:
    """What a row would be refused for is refused, not cut to fit."""

    def refused(topic: Any) -> None:
        with pytest.raises(ValueRefused):
            topic.push_columns([1, 2], {"v": values})

    assert pushed(
        tmp_path, pa.uint64(), refused, lambda t: t.push_columns([1, 2], {"v": [None, 2**64 - 1]})
    ) == [
        None,
        2**64 - 1,
    ]


def test_a_strange_member_of_a_struct_in_a_map_is_refused(tmp_path: Path) -> None:
    """However deep it lies."""

    def refused(topic: Any) -> None:
        for push in (by_row, by_columns):
            with pytest.raises(ValueRefused):
                push(topic, [("a", STRANGE)])

    assert pushed(tmp_path, pa.map_(pa.string(), POINT), refused) == []
