"""The general lane's columns: text, bytes, lists and nested values, checked and copied at the push.

A cell function takes the user's value and returns ``(stored value, value bytes)``; it raises TypeError,
ValueError or OverflowError with a sentence when the value does not fit. Values that the caller may
change later (arrays, bytearrays, lists) are copied here.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.store.fitting import has_narrow_floats, infinities, with_doubles
from gapless.store.packing import _CODES, MISSING
from gapless.store.storable import is_suspect, refusal

_PAIR = 2  # key and value
Cell = Callable[[Any], tuple[Any, int]]


def cell_for(column: pa.Field) -> Cell:
    """Return the cell function of a column."""
    kind = column.type
    if kind in _CODES:
        return _number(kind, (column.metadata or {}).get(b"allow_nan") == b"false")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _binary
    if _is_list(kind) and kind.value_type in _CODES:
        return _numbers(kind)
    return _nested(kind)


def build_column(column: pa.Field, values: Sequence[Any]) -> pa.Array:
    """Return stored values as one Arrow array of the column's type."""
    kind = column.type
    if _is_list(kind) and kind.value_type in _CODES:
        return _list_array(kind, values)
    return pa.array(values, kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _number(kind: pa.DataType, refuse_nan: bool) -> Cell:
    code = f"<{_CODES[kind]}"
    width = struct.calcsize(code)
    pack = struct.Struct(code).pack
    # what is kept is plain: building a column from it in the writer's thread can then not fail
    make: Callable[[Any], Any] = bool if code == "<?" else float if code in ("<d", "<f", "<e") else _whole

    def number(value: Any) -> tuple[Any, int]:
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if code == "<?" and not isinstance(value, bool | np.bool_):
            raise TypeError("expected bool")
        try:
            pack(value)
        except struct.error as error:
            raise TypeError(f"expected {kind}") from error
        if refuse_nan and value != value:
            raise ValueError("NaN is not allowed in this field")
        return make(value), width

    return number


def _whole(value: Any) -> int:
    return int(operator.index(value))  # int() makes True a 1


def _text(value: Any) -> tuple[Any, int]:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value, len(value.encode())  # UnicodeEncodeError (a ValueError) for lone surrogates


def _binary(value: Any) -> tuple[Any, int]:
    if isinstance(value, bytes):
        return value, len(value)
    if isinstance(value, np.ndarray):
        copied = value.tobytes()
    elif isinstance(value, bytearray | memoryview):
        copied = bytes(value)
    else:
        raise TypeError("expected bytes")
    return copied, len(copied)


def _numbers(kind: pa.DataType) -> Cell:
    target = np.dtype(kind.value_type.to_pandas_dtype())
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else None

    def numbers(value: Any) -> tuple[Any, int]:
        if isinstance(value, str | bytes):
            raise TypeError(f"expected a list of {target}")
        array = np.asarray(value)
        whole = array.dtype.kind in "iu" and target.kind in "iu"  # their range is checked below
        if array.size and not whole and not np.can_cast(array.dtype, target, "same_kind"):
            raise TypeError(f"expected a list of {target}, found {array.dtype}")
        if size is not None and array.size != size:
            raise ValueError(f"expected {size} values, found {array.size}")
        if size is None and array.ndim != 1:
            raise ValueError(f"expected one dimension, found {array.ndim}")
        if target.kind in "iu" and array.size and array.dtype != target:
            bounds = np.iinfo(target)
            if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
                raise OverflowError(f"a value is outside {target}")
        with np.errstate(over="raise"):
            try:
                copied = np.array(array, dtype=target).reshape(-1)
            except FloatingPointError as error:
                raise OverflowError(f"a value is outside {target}") from error
        return copied, copied.nbytes

    return numbers


def _nested(kind: pa.DataType) -> Cell:
    suspect, narrow = is_suspect(kind), has_narrow_floats(kind)

    def nested(value: Any) -> tuple[Any, int]:
        _check_keys(kind, value)
        try:
            array = pa.array([value], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"expected {kind}: {error}") from error
        reason = refusal(array) if suspect else None
        if reason is not None:
            raise ValueError(reason)
        if narrow and infinities(array) > infinities(pa.array([value], with_doubles(kind))):
            raise OverflowError(f"a value is outside {kind}")
        return array[0], int(row_value_bytes(array)[0])

    return nested


def _check_keys(kind: pa.DataType, value: Any) -> None:
    """Raise TypeError for a key that a struct does not have: Arrow would leave its value out in silence."""
    if isinstance(kind, pa.StructType) and isinstance(value, dict):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        unknown = [key for key in value if key not in names]
        if unknown:
            raise TypeError(f"no field {unknown[0]!r}; expected {', '.join(names)}")
        for name in names:
            _check_keys(kind.field(name).type, value.get(name))
    elif _is_list(kind) and isinstance(value, list | tuple):
        for item in value:
            _check_keys(kind.value_type, item)
    elif isinstance(kind, pa.MapType) and isinstance(value, dict | list | tuple):
        for pair in value.items() if isinstance(value, dict) else value:
            if isinstance(pair, list | tuple) and len(pair) == _PAIR:
                _check_keys(kind.item_type, pair[1])


def _list_array(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    size = kind.list_size if pa.types.is_fixed_size_list(kind) else None
    empty = np.zeros(size or 0, dtype=kind.value_type.to_pandas_dtype())
    rows = [empty if v is None else v for v in values]
    flat = pa.array(np.concatenate(rows) if rows else empty[:0], kind.value_type)
    missing = np.array([v is None for v in values], dtype=bool)
    mask = pa.array(missing) if missing.any() else None
    if size is not None:
        return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=mask)
    offsets = np.concatenate(([0], np.cumsum([len(v) for v in rows])))
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), flat, type=kind, mask=mask)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, type=kind, mask=mask)


def row_value_bytes(array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the bytes of values in each row: what row-group cuts count, however the rows were framed.

    Fixed widths count in full, also for nulls; text and binary by their length; lists by their items.
    """
    kind, rows = array.type, len(array)
    if pa.types.is_boolean(kind):
        return np.ones(rows, np.int64)
    if pa.types.is_dictionary(kind):
        return row_value_bytes(array.cast(kind.value_type))
    if (
        pa.types.is_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_large_binary(kind)
    ):
        return _lengths(pc.binary_length(array))
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size  # flatten() would leave null lists out; their items count like others
        items = row_value_bytes(array.values.slice(array.offset * size, rows * size))
        return items.reshape(rows, size).sum(axis=1) if size else np.zeros(rows, np.int64)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _summed(
            row_value_bytes(array.flatten() if not pa.types.is_map(kind) else _entries(array)), array
        )
    if pa.types.is_struct(kind):
        parts = [row_value_bytes(child) for child in array.flatten()]
        return np.sum(parts, axis=0, dtype=np.int64) if parts else np.zeros(rows, np.int64)
    return np.full(rows, _width(kind), np.int64)


def _width(kind: pa.DataType) -> int:
    return max(1, kind.bit_width // 8) if kind.bit_width else 8


def _lengths(lengths: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False), np.int64)


def _entries(array: pa.Array) -> pa.Array:
    return array.cast(
        pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)]))
    ).flatten()


def _summed(
    items: np.ndarray[Any, np.dtype[np.int64]], array: pa.Array
) -> np.ndarray[Any, np.dtype[np.int64]]:
    if pa.types.is_map(array.type):
        array = array.cast(
            pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)]))
        )
    ends = np.cumsum(_lengths(pc.list_value_length(array)))
    totals = np.concatenate(([0], np.cumsum(items)))
    return np.diff(totals[np.concatenate(([0], ends))])


def batch_value_bytes(batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the value bytes of each row of a batch, ``_seq`` left out."""
    total = np.zeros(batch.num_rows, np.int64)
    for column in batch.schema.names:
        if column != "_seq":
            total += row_value_bytes(batch.column(column))
    return total


__all__ = ["MISSING", "Cell", "batch_value_bytes", "build_column", "cell_for", "row_value_bytes"]
