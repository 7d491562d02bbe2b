"""The events of one stream as the rows and arrays that a Tiled server holds, typed by the descriptor."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.event_batch import EventBatch
from gapless.bluesky.event_columns import EventColumns
from gapless.bluesky.stream_schema import KeyColumn, StreamSchema
from gapless.bluesky.value_kind import declared_shape
from gapless.bluesky.violation import Violation, describe, raw

MAX_TABLE_COLUMNS = 1024
_TEXT_WIDTH = 64  # characters of a text in an array whose descriptor tells no width
# What the server's tables take in no name.
_FORBIDDEN = re.compile(r"""[\x00-\x1f\x7f'"`;\\%()=+]|--|/\*|\*/""")
_LEAD = 5  # timestamp_ns, seq_num, time, uid, descriptor


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a stream in the order of arrival, the first of which is row ``position`` of the stream.

    ``blanks``: for each array that has no word for no value, how many of its rows should say that.
    """

    position: int
    table: pa.Table
    arrays: dict[str, np.ndarray[Any, Any]]
    blanks: dict[str, int]

    def __len__(self) -> int:
        return int(self.table.num_rows)


class StreamRows:
    """How one stream is laid out on the server.

    ``seq_num``, ``time``, each data key and its ``ts_<key>`` are columns of a table. Keys with more than
    ``max_array_size`` elements an event, and arrays of text, are arrays of their own, one event a row. Where
    the server's tables have no type for lists, all arrays of a fixed shape are, and others become JSON text.
    """

    def __init__(self, descriptor: Mapping[str, Any], *, max_array_size: int, holds_lists: bool) -> None:
        self._stream = str(descriptor["name"])
        self._columns = StreamSchema.of(descriptor)
        self._schema = pa.schema(
            [pa.field("timestamp_ns", pa.int64(), nullable=False), *self._columns.schema]
        )
        self._check = EventColumns(self._stream, self._columns, self._schema)
        data_keys = descriptor["data_keys"]
        self.array_shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._cells: dict[str, _Cells] = {}
        names = table_names([column.key for column in self._columns.keys])
        self.renamed = {key: name for key, name in names.items() if key != name}
        for place, column in enumerate(self._columns.keys):
            shape = _array_shape(column, data_keys[column.key], max_array_size, holds_lists)
            if shape is not None:
                self.array_shapes[column.key] = shape
                continue
            index = _LEAD + 2 * place
            type_, convert = _table_type(column.kind.type, holds_lists)
            self._cells[names[column.key]] = _Cells(index, type_, convert)
        stamps = {
            f"ts_{names[column.key]}": _Cells(_LEAD + 2 * place + 1, pa.float64(), None)
            for place, column in enumerate(self._columns.keys)
        }
        self.schema = pa.schema(
            [pa.field("seq_num", pa.int64()), pa.field("time", pa.float64())]
            + [pa.field(name, cells.type) for name, cells in (self._cells | stamps).items()]
        )
        self._cells |= stamps

    @property
    def uses_lists(self) -> bool:
        """Whether a column is of a type that not every server's tables have."""
        return any(pa.types.is_list(field.type) or pa.types.is_uint64(field.type) for field in self.schema)

    def piece(self, events: Sequence[Mapping[str, Any]], position: int) -> tuple[Piece, list[Violation]]:
        """Return events of one descriptor as a piece, and what in them is not as declared."""
        batch, violations = self._check.build(EventBatch.of_events(events), 0, 0)
        columns = [batch.column(1), batch.column(2), *(cells.of(batch) for cells in self._cells.values())]
        arrays, blanks = {}, {}
        refused = Counter(violation.key for violation in violations if violation.kind != "timestamp")
        for place, column in enumerate(self._columns.keys):
            if column.key in self.array_shapes:
                shape, dtype = self.array_shapes[column.key]
                cells = batch.column(_LEAD + 2 * place)
                stack = arrays[column.key] = _stacked(cells, shape, dtype)
                if dtype.kind != "f" and cells.null_count > refused[column.key]:
                    blanks[column.key] = cells.null_count - refused[column.key]
                for n in _too_wide(cells, dtype):
                    stack[n] = ""
                    violations.append(_width_violation(batch, n, self._stream, column.key, cells[n].as_py()))
        table = pa.Table.from_arrays(columns, schema=self.schema)
        return Piece(position, table, arrays, blanks), violations

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """Return the schema of one table."""
        return pa.schema([self.schema.field(name) for name in columns])

    def tables(self) -> dict[str, list[str]]:
        """Return the columns of each table by its key: one, unless there are too many for one."""
        names = self.schema.names
        if len(names) <= MAX_TABLE_COLUMNS:
            return {"internal": names}
        names = sorted(names)
        size = math.ceil(len(names) / math.ceil(len(names) / MAX_TABLE_COLUMNS))
        return {
            f"internal_{n}": names[first : first + size] for n, first in enumerate(range(0, len(names), size))
        }


@dataclass(frozen=True, slots=True)
class _Cells:
    """One column of the table: where it comes from and what it becomes."""

    index: int
    type: pa.DataType
    convert: Callable[[Any], Any] | None

    def of(self, batch: pa.RecordBatch) -> pa.Array:
        column = batch.column(self.index)
        if self.convert is None:
            return column
        return pa.array([self.convert(value) for value in column.to_pylist()], self.type)


def table_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the column of each data key: its own name where a table takes it beside the others.

    The server's tables tell no upper from lower case, want a letter first and refuse some characters.
    """
    taken = {"seq_num", "time"}
    names: dict[str, str] = {}
    for key in sorted(keys, key=lambda key: not _is_plain_name(key)):  # stable: plain names first
        name = _FORBIDDEN.sub("_", key)
        name = name if re.match("[a-zA-Z]", name) else f"key_{name.lstrip('_')}"
        while {name.lower(), f"ts_{name.lower()}"} & taken:
            name += "_"
        taken |= {name.lower(), f"ts_{name.lower()}"}
        names[key] = name
    return {key: names[key] for key in keys}


def _is_plain_name(key: str) -> bool:
    return not _FORBIDDEN.search(key) and re.match("[a-zA-Z]", key) is not None


def _array_shape(
    column: KeyColumn, data_key: Mapping[str, Any], max_array_size: int, holds_lists: bool
) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and type of one event's array where the key is an array of its own, else None."""
    sizes = declared_shape(data_key)
    if not pa.types.is_list(column.kind.type) or not sizes:
        return None
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None  # of any length: no array holds that
    inner = column.kind.type.value_type
    is_text = pa.types.is_string(inner)
    if holds_lists and not is_text and not 0 <= max_array_size < math.prod(sizes):
        return None
    if not is_text:
        return tuple(sizes), np.dtype(inner.to_pandas_dtype())
    width = np.dtype(data_key["dtype_numpy"]).itemsize // 4 if data_key.get("dtype_numpy") else 0
    return tuple(sizes), np.dtype(f"<U{max(width, _TEXT_WIDTH)}")


def _table_type(kind: pa.DataType, holds_lists: bool) -> tuple[pa.DataType, Callable[[Any], Any] | None]:
    if holds_lists:
        return kind, None
    if pa.types.is_list(kind):
        return pa.string(), lambda value: None if value is None else json.dumps(value)
    if pa.types.is_uint64(kind):
        return pa.string(), lambda value: None if value is None else str(value)
    return kind, None


def _stacked(column: pa.Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the cells as one array, an event a row; a null is NaN, 0, False or no text."""
    empty = np.nan if dtype.kind == "f" else np.zeros((), dtype)[()]
    stack = np.full((len(column), *shape), empty, dtype)
    for place, cell in enumerate(column):
        if cell.is_valid:
            stack[place] = cell.values.to_numpy(zero_copy_only=False).reshape(shape)
    return stack


def _too_wide(column: pa.Array, dtype: np.dtype[Any]) -> list[int]:
    """Return the rows with a text that the array's fixed width would cut."""
    if dtype.kind != "U":
        return []
    width = dtype.itemsize // 4
    return [
        n for n, cell in enumerate(column.to_pylist()) if any(len(text or "") > width for text in cell or ())
    ]


def _width_violation(batch: pa.RecordBatch, n: int, stream: str, key: str, value: Any) -> Violation:
    stamp_ns, seq_num, _, uid = (batch.column(place)[n].as_py() for place in range(4))
    expected = "texts of the width that the array on the server has"
    return Violation(stamp_ns, stream, uid, seq_num, key, "range", expected, describe(value), raw(value))
