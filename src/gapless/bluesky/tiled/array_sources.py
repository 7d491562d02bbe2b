"""Arrays out of columns: a column of numbers or texts, and a column of lists that all have one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.bluesky.tiled.cells import column_dtype, column_values
from gapless.bluesky.tiled.topic_rows import Rows


class ColumnSource:
    """One column of a table; text gets the width of its longest value, for which it is read once."""

    def __init__(self, rows: Rows, column: str) -> None:
        self._rows = rows
        self._column = column
        kind = rows.schema.field(column).type
        self._cells = column_dtype(kind, nulls=column in rows.with_nulls)
        self._dtype = np.dtype(f"<U{self._width()}") if self._cells.kind == "O" else self._cells

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows."""
        return (sum(self._rows.lengths),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        return self._dtype

    @property
    def version(self) -> str:
        """A text that changes when the values change."""
        return f"{self._rows.version}\n{self._column}"

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the values from ``start`` to before ``stop``."""
        found = [self._values(table) for table in pieces(self._rows, self._column, start, stop)]
        return np.concatenate(found) if found else np.empty(0, self._dtype)

    def _values(self, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        return column_values(column, self._cells).astype(self._dtype, copy=False)

    def _width(self) -> int:
        longest = 1
        for partition in range(len(self._rows.lengths)):
            column = self._rows.read(partition, [self._column]).column(0)
            longest = max([longest, *map(len, column_values(column, self._cells))])
        return longest


class ListSource:
    """A column of lists of numbers, each ``prod(shape)`` long, row-major; a null list is NaN."""

    def __init__(self, rows: Rows, column: str, shape: Sequence[int]) -> None:
        self._rows = rows
        self._column = column
        self._inner = tuple(shape)
        self._kind = rows.schema.field(column).type.value_type

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, then the shape of one value."""
        return (sum(self._rows.lengths), *self._inner)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        found: np.dtype[Any] = np.dtype(self._kind.to_pandas_dtype())
        return found

    @property
    def version(self) -> str:
        """A text that changes when the values change."""
        return f"{self._rows.version}\n{self._column}"

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the values from ``start`` to before ``stop`` along the first axis."""
        found = [self._values(column) for column in pieces(self._rows, self._column, start, stop)]
        return np.concatenate(found) if found else np.empty((0, *self._inner), self.dtype)

    def _values(self, column: pa.ChunkedArray) -> npt.NDArray[Any]:
        present = pc.is_valid(column).to_numpy()
        inner = pc.list_flatten(column)
        values = np.asarray(inner.to_numpy(), self.dtype).reshape(-1, *self._inner)
        if len(values) == len(column):
            return values
        filled = np.full((len(column), *self._inner), np.nan, self.dtype)
        filled[present] = values
        return filled


def is_uniform(rows: Rows, column: str, shape: Sequence[int]) -> bool:
    """Tell whether every list of a column has the shape's length, and a null only where NaN can stand for it."""
    kind = rows.schema.field(column).type
    floating = pa.types.is_floating(kind.value_type)
    length = int(np.prod(shape, dtype=np.int64))
    for partition in range(len(rows.lengths)):
        values = rows.read(partition, [column]).column(0)
        lengths = pc.min_max(pc.list_value_length(values)).as_py()
        if {lengths["min"], lengths["max"]} - {length, None}:
            return False
        if not floating and (values.null_count or pc.list_flatten(values).null_count):
            return False
    return True


def pieces(rows: Rows, column: str, start: int, stop: int) -> Iterator[pa.ChunkedArray]:
    """Yield a column from row ``start`` to before ``stop``, reading only the partitions that hold them."""
    begun = 0
    for partition, length in enumerate(rows.lengths):
        low, high = max(start, begun), min(stop, begun + length)
        if low < high:
            table = rows.read(partition, [column])
            yield table.column(0).slice(low - begun, high - low)
        begun += length
