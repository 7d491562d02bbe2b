"""How large cells will be is known before they are made: never less than they are, and not much more."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from gapless.serve.http.data_page import cells
from gapless.serve.http.json_size import entries_of, json_bytes

LONGEST: list[tuple[pa.DataType, list[Any]]] = [
    (pa.bool_(), [False]),
    (pa.null(), [None]),
    (pa.int8(), [-128]),
    (pa.uint16(), [2**16 - 1]),
    (pa.int32(), [-(2**31)]),
    (pa.int64(), [-(2**63)]),
    (pa.uint64(), [2**64 - 1]),
    (pa.float64(), [-2.2250738585072014e-308]),
    (pa.float32(), [-1.1754943508222875e-38]),
    (pa.decimal128(38, 38), [Decimal("-0." + "9" * 38)]),
    (pa.timestamp("ns", "America/Argentina/Buenos_Aires"), [-(2**62)]),
    (pa.time64("ns"), [5]),
    (pa.date32(), [dt.date(2024, 2, 29)]),
    (pa.duration("ns"), [-(2**62)]),
    (pa.binary(), [b"x" * 1_024, b""]),
    (pa.binary(3), [b"abc"]),
    (pa.string(), ["é" * 100, ""]),
    (pa.large_string(), ["x"]),
    (pa.list_(pa.int64()), [[-(2**63)] * 3, []]),
    (pa.list_(pa.list_(pa.bool_())), [[[False] * 3, []]]),
    (pa.list_(pa.float32(), 2), [[-1.1754943508222875e-38] * 2]),
    (pa.struct([("ä", pa.int64()), ("x", pa.string())]), [{"ä": -(2**63), "x": "yy"}]),
    (pa.map_(pa.string(), pa.int64()), [[("k", -(2**63)), ("", 3)]]),
    (pa.dictionary(pa.int8(), pa.string()), ["a" * 1_000]),
]


@pytest.mark.parametrize(("kind", "values"), LONGEST, ids=lambda value: str(value)[:30])
def test_no_cell_is_larger_than_was_told(kind: pa.DataType, values: list[Any]) -> None:
    """Of every type, the longest there are, missing ones, and slices."""
    whole = pa.array([*values, None] * 7, kind)
    for column in (whole, whole.slice(1, 5), whole.slice(3, 1)):
        text = json.dumps(cells(column), separators=(",", ":"), ensure_ascii=False)
        size = len(text.encode()) - 1  # one bracket stands for the last comma
        assert size <= json_bytes(column) <= 2 * size + 1_536 * len(column)
    assert json_bytes(whole.slice(0, 0)) == 0


def test_a_slice_counts_what_is_in_it() -> None:
    """Not what lies around it: the pieces of a page add up to the whole."""
    for kind, values in LONGEST:
        column = pa.array([*values, None] * 7, kind)
        parts = [column.slice(place, 1) for place in range(len(column))]
        assert sum(map(json_bytes, parts)) <= json_bytes(column) + 16 * len(column), kind


def test_the_entries_of_maps_are_those_of_their_rows() -> None:
    """Also of none."""
    column = pa.array([[("a", 1)], None, [("b", 2), ("c", 3)]], pa.map_(pa.string(), pa.int64()))
    assert [entries.to_pylist() for entries in entries_of(column.slice(2))] == [["b", "c"], [2, 3]]
    assert [entries.to_pylist() for entries in entries_of(column.slice(1, 0))] == [[], []]
