"""Rows of any type of the SDK with random values, and null wherever the type allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMBERS = frozenset({"x", "y", "z", "w", "linear", "angular"})  # in no object of the SDK are these null
TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)


def random_batch(kind: pa.StructType, rows: int = 7, seed: int = 0) -> pa.RecordBatch:
    """Return rows of a type with rising times.

    The SDK cannot tell a struct of nulls from no struct, so every struct that is there holds a value.
    """
    rng = np.random.default_rng(seed)
    arrays = _children(kind, rows, rng)
    times = pa.array(np.arange(rows) * 10)
    return pa.RecordBatch.from_arrays([times, *arrays], schema=pa.schema([TIME, *kind]))


def _values(kind: pa.DataType, rows: int, rng: np.random.Generator, *, nullable: bool) -> pa.Array:
    mask = rng.random(rows) < 0.4 if nullable else np.zeros(rows, np.bool_)
    if pa.types.is_struct(kind):
        return pa.StructArray.from_arrays(_children(kind, rows, rng), fields=list(kind), mask=pa.array(mask))
    if pa.types.is_fixed_size_list(kind):
        flat = _values(kind.value_type, rows * kind.list_size, rng, nullable=False)
        return pa.FixedSizeListArray.from_arrays(flat, kind.list_size).cast(kind)
    if pa.types.is_list(kind):
        lengths = rng.integers(0, 4, rows)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        flat = _values(kind.value_type, int(offsets[-1]), rng, nullable=False)
        return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind, mask=pa.array(mask))
    made = pa.array(_plain(kind, rows, rng)).cast(kind, safe=False)
    return pc.if_else(pa.array(mask), pa.scalar(None, kind), made)


def _children(kind: pa.StructType, rows: int, rng: np.random.Generator) -> list[pa.Array]:
    children = [_values(f.type, rows, rng, nullable=f.nullable and f.name not in NUMBERS) for f in kind]
    if all(f.nullable for f in kind) and not NUMBERS & {f.name for f in kind}:
        children[-1] = _values(kind.field(kind.num_fields - 1).type, rows, rng, nullable=False)
    return children


def _plain(kind: pa.DataType, rows: int, rng: np.random.Generator) -> Any:
    if pa.types.is_boolean(kind):
        return rng.random(rows) < 0.5
    if pa.types.is_integer(kind):
        return rng.integers(1, 9, rows)  # where the SDK has an enumeration, these are in it
    if pa.types.is_floating(kind):
        return rng.normal(size=rows)
    if pa.types.is_string(kind):
        return [f"text {n} ä" for n in range(rows)]
    return [bytes([n]) * n for n in range(rows)]
