"""The pyramid: min, max and mean of every numeric field per 256, 4,096 and 65,536 rows.

Made while a row group is in memory anyway. Buckets never cross a row group, so that a plot's extremes
are exact and a part can be rewritten without touching another part's buckets.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.store.declaration import SEQ, TIME

LEVELS = (256, 4096, 65_536)
_FANOUT = 16
Numbers = np.ndarray[Any, Any]


def numeric_fields(schema: pa.Schema) -> list[str]:
    """Return the columns that a pyramid holds: numbers and bools at the top level."""
    return [
        f.name
        for f in schema
        if f.name not in (TIME, SEQ)
        and (pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_boolean(f.type))
    ]


@lru_cache(maxsize=256)
def pyramid_schema(schema: pa.Schema) -> pa.Schema:
    """Return the columns of a topic's pyramid file."""
    fields = [
        ("level", pa.int32()),
        ("part", pa.int32()),
        ("row_start", pa.int64()),
        ("rows", pa.int32()),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
    ]
    for name in numeric_fields(schema):
        kind = _kind(schema.field(name).type)
        fields += [(f"{name}:min", kind), (f"{name}:max", kind), (f"{name}:mean", pa.float64())]
    return pa.schema(fields)


def _kind(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.uint64() if pa.types.is_unsigned_integer(kind) else pa.int64()


def group_buckets(table: pa.Table, schema: pa.Schema, part: int, row_start: int) -> list[pa.RecordBatch]:
    """Return the buckets of one sorted row group, one batch per level."""
    times = table.column(TIME).to_numpy()
    rows = len(times)
    if rows == 0:
        return []
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # inf - inf and sums beyond float64 are values, not faults
        fields = {
            name: _Column(table.column(name), schema.field(name).type) for name in numeric_fields(schema)
        }
        return [_level(level, times, fields, part, row_start, schema) for level in LEVELS]


def _level(
    level: int, times: Numbers, fields: dict[str, _Column], part: int, row_start: int, schema: pa.Schema
) -> pa.RecordBatch:
    starts = np.arange(0, len(times), level)
    ends = np.minimum(starts + level, len(times))
    columns: list[Any] = [
        np.full(len(starts), level, np.int32),
        np.full(len(starts), part, np.int32),
        starts + row_start,
        (ends - starts).astype(np.int32),
        times[starts],
        times[ends - 1],
    ]
    for column in fields.values():
        columns += column.reduce(level)
    arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=pyramid_schema(schema))


class _Column:
    """One column's running reduction; each level is made from the one below it."""

    def __init__(self, column: pa.ChunkedArray, kind: pa.DataType) -> None:
        self.kind = _kind(kind)
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], kind)
        self.valid: Numbers | None = None
        if array.null_count:
            self.valid = array.is_valid().to_numpy(zero_copy_only=False)
            array = array.fill_null(False if pa.types.is_boolean(kind) else 0)
        values = array.to_numpy(zero_copy_only=False)
        if pa.types.is_floating(kind):
            values = values.astype(np.float64, copy=False)
            nan = np.isnan(values)
            if nan.any():
                self.valid = ~nan if self.valid is None else self.valid & ~nan
        else:
            values = values.astype(np.uint64 if pa.types.is_unsigned_integer(kind) else np.int64, copy=False)
        self.low: Numbers
        self.high: Numbers
        self.total: Numbers
        self.count: Numbers
        self._first(values)

    def _first(self, values: Numbers) -> None:
        low = high = total = values
        if self.valid is not None:
            top, bottom = _limits(values.dtype)
            low, high = np.where(self.valid, values, top), np.where(self.valid, values, bottom)
            total = np.where(self.valid, values, 0)
        width = LEVELS[0]
        self.low, self.high = _fold(low, width, "min"), _fold(high, width, "max")
        self.total = _fold(total, width, "sum")
        if self.valid is None:
            starts = np.arange(0, len(values), width)
            self.count = np.minimum(width, len(values) - starts)
        else:
            self.count = _fold(self.valid.astype(np.int64), width, "sum")
        self._level = LEVELS[0]

    def reduce(self, level: int) -> list[pa.Array]:
        """Return min, max and mean at a level; levels are asked for in rising order."""
        if level > self._level:
            self.low, self.high = _fold(self.low, _FANOUT, "min"), _fold(self.high, _FANOUT, "max")
            self.total = _fold(self.total, _FANOUT, "sum")
            self.count = _fold(self.count, _FANOUT, "sum")
            self._level = level
        empty = self.count == 0
        mask = empty if empty.any() else None
        mean = self.total / np.maximum(self.count, 1)
        return [
            pa.array(self.low, self.kind, mask=mask),
            pa.array(self.high, self.kind, mask=mask),
            pa.array(mean, pa.float64(), mask=mask),
        ]


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return np.inf, -np.inf
    bounds = np.iinfo(dtype)
    return bounds.max, bounds.min


def _fold(values: Numbers, width: int, how: str) -> Numbers:
    """Reduce runs of ``width`` values, the last run shorter; sums are float64 so that they cannot wrap."""
    if how != "sum":
        reduce: Any = np.minimum if how == "min" else np.maximum
        folded: Numbers = reduce.reduceat(values, np.arange(0, len(values), width))
        return folded
    whole = len(values) // width * width
    blocks = values[:whole].reshape(-1, width)
    tail = values[whole:]
    kind = np.int64 if values.dtype == np.int64 and width == _FANOUT else np.float64
    sums: Numbers = blocks.sum(axis=1, dtype=kind)
    return np.append(sums, tail.sum(dtype=kind)) if len(tail) else sums
