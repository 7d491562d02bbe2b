"""The pyramid: min, max, mean and count of every numeric field per 256, 4,096 and 65,536 rows.

Made while a row group is in memory anyway. Buckets never cross a row group, so that a plot's extremes
are exact and a part can be rewritten without touching another part's buckets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.store.declaration import SEQ, TIME
from gapless.store.scratch import scratch_array

LEVELS = (256, 4096, 65_536)
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
        fields += [(f"{name}:min", kind), (f"{name}:max", kind)]
        fields += [(f"{name}:mean", pa.float64()), (f"{name}:count", pa.int32())]
    return pa.schema(fields)


def _kind(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.uint64() if pa.types.is_unsigned_integer(kind) else pa.int64()


def group_buckets(
    table: pa.Table, schema: pa.Schema, part: int, row_start: int, fields: dict[str, Reduced] | None = None
) -> list[pa.RecordBatch]:
    """Return the buckets of one sorted row group, one batch per level.

    ``fields`` are its :func:`reductions`, where they are known already.
    """
    times = table.column(TIME).to_numpy()
    if len(times) == 0:
        return []
    known = reductions(table, schema) if fields is None else fields
    return [_level(level, times, known, part, row_start, schema) for level in LEVELS]


def reductions(table: pa.Table, schema: pa.Schema) -> dict[str, Reduced]:
    """Return every numeric field's reduction to runs of 256 rows.

    Columns of one type are reduced together. Each call into NumPy gives the interpreter's lock away and
    waits for it again behind a busy producer, so few large calls keep sealing up with a flood of rows.
    """
    names = numeric_fields(schema)
    out: dict[str, Reduced] = {}
    stacks: dict[str, list[tuple[str, Numbers]]] = {}
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, sums beyond float64: values, not faults
        for name in names:
            kind = _kind(schema.field(name).type)
            values, valid = _values(table.column(name), schema.field(name).type)
            if valid is None:
                stacks.setdefault(str(kind), []).append((name, values))
            else:
                out[name] = _masked(kind, values, valid)
        for entries in stacks.values():
            out |= _stacked(entries, schema)
    return {name: out[name] for name in names}


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[Numbers, Numbers | None]:
    """Return a column's values and, where some are null, which are not."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], kind)
    valid = None
    if array.null_count:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        array = array.fill_null(False if pa.types.is_boolean(kind) else 0)
    values = array.to_numpy(zero_copy_only=False)
    return values.astype(_kind(kind).to_pandas_dtype(), copy=False), valid


def _stacked(entries: list[tuple[str, Numbers]], schema: pa.Schema) -> dict[str, Reduced]:
    """Reduce columns of one type without nulls; those that turn out to hold NaN are done again alone."""
    columns = [values for _, values in entries]
    block = np.stack(columns, out=scratch_array((len(columns), len(columns[0])), columns[0].dtype))
    width, rows = LEVELS[0], block.shape[1]
    starts = np.arange(0, rows, width)
    low, high = np.minimum.reduceat(block, starts, axis=1), np.maximum.reduceat(block, starts, axis=1)
    total = _sums(block, width)
    count = np.minimum(width, rows - starts)
    doubtful = np.asarray(np.isnan(total).any(axis=1))  # NaN, or both infinities
    out = {}
    for i, (name, values) in enumerate(entries):
        kind = _kind(schema.field(name).type)
        if doubtful[i]:
            out[name] = _masked(kind, values, ~np.isnan(values))
        else:
            out[name] = Reduced(kind, low[i], high[i], total[i], count)
    return out


def _masked(kind: pa.DataType, values: Numbers, valid: Numbers) -> Reduced:
    """Reduce a column of which only some values count."""
    if values.dtype.kind == "f":
        valid = valid & ~np.isnan(values)
    top, bottom = _limits(values.dtype)
    starts = np.arange(0, len(values), LEVELS[0])
    return Reduced(
        kind,
        np.minimum.reduceat(np.where(valid, values, top), starts),
        np.maximum.reduceat(np.where(valid, values, bottom), starts),
        _sums(np.where(valid, values, 0)[np.newaxis], LEVELS[0])[0],
        np.add.reduceat(valid.astype(np.int64), starts),
    )


def _sums(block: Numbers, width: int) -> Numbers:
    """Return the sums of runs of ``width`` values of each row, as float64 so that they cannot wrap."""
    whole = block.shape[1] // width * width
    sums: Numbers = block[:, :whole].reshape(len(block), -1, width).sum(axis=2, dtype=np.float64)
    if whole == block.shape[1]:
        return sums
    tail = block[:, whole:].sum(axis=1, dtype=np.float64)
    return np.concatenate([sums, tail[:, np.newaxis]], axis=1)


def _level(
    level: int, times: Numbers, fields: dict[str, Reduced], part: int, row_start: int, schema: pa.Schema
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
    with np.errstate(invalid="ignore", over="ignore"):
        for field in fields.values():
            columns += field.at(level).columns()
    arrays = [c if isinstance(c, pa.Array) else pa.array(c) for c in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=pyramid_schema(schema))


@dataclass
class Reduced:
    """One column's running reduction; each level is made from the one below it."""

    kind: pa.DataType
    low: Numbers
    high: Numbers
    total: Numbers
    count: Numbers  # of values that are neither null nor NaN

    def at(self, level: int) -> Reduced:
        """Return the reduction of 256-row runs to runs of ``level`` rows."""
        width = level // LEVELS[0]
        if width == 1:
            return self
        starts = np.arange(0, len(self.low), width)
        return Reduced(
            self.kind,
            np.minimum.reduceat(self.low, starts),
            np.maximum.reduceat(self.high, starts),
            np.add.reduceat(self.total, starts),
            np.add.reduceat(self.count, starts),
        )

    def columns(self) -> list[pa.Array]:
        """Return min, max and mean, null where nothing counts, and how many values count."""
        empty = self.count == 0
        mask = empty if empty.any() else None
        mean = self.total / np.maximum(self.count, 1)
        return [
            pa.array(self.low, self.kind, mask=mask),
            pa.array(self.high, self.kind, mask=mask),
            pa.array(mean, pa.float64(), mask=mask),
            pa.array(self.count, pa.int32()),
        ]

    def bounds(self) -> tuple[Any, Any] | None:
        """Return the smallest and greatest value as Python numbers, or None where nothing counts."""
        some = self.count > 0
        return (self.low[some].min().item(), self.high[some].max().item()) if some.any() else None


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    if dtype.kind == "f":
        return np.inf, -np.inf
    bounds = np.iinfo(dtype)
    return bounds.max, bounds.min
