"""Columns as numpy arrays for readers that know no nulls: pages, HDF5 files, clients of single columns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_EXACT = 2**53


def is_number(kind: pa.DataType) -> bool:
    """Tell whether numpy has the type."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def column_dtype(kind: pa.DataType, *, nulls: bool) -> np.dtype[Any]:
    """Return the numpy type of a column; object for what becomes text.

    A null needs a float; a boolean with nulls becomes text.
    """
    if not is_number(kind) or (pa.types.is_boolean(kind) and nulls):
        return np.dtype(object)
    if pa.types.is_integer(kind) and nulls:
        return np.dtype(np.float64)
    found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return found


def column_values(column: pa.ChunkedArray, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a column as an array of the type that :func:`column_dtype` gave; a null is NaN or "".

    Raises OverflowError for an integer that a float cannot hold beside a null.
    """
    if dtype.kind == "O":
        return np.array([_text(value) for value in column.to_pylist()], dtype=object)
    if pa.types.is_integer(column.type) and dtype.kind == "f":
        limits = pc.min_max(column).as_py()
        if any(limit is not None and abs(limit) > _EXACT for limit in limits.values()):
            raise OverflowError("a column with nulls holds integers beyond 2**53, which a float cannot hold")
        column = column.cast(pa.float64())
    values: npt.NDArray[Any] = column.to_numpy()
    return values.astype(dtype, copy=False)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)


def as_text(column: pa.ChunkedArray) -> list[str | None]:
    """Return a column of lists, structs or bytes as JSON texts, null as None."""
    return [None if value is None else _text(value) for value in column.to_pylist()]
