"""Rows as JSON that a browser can hold: no number that it would round, no endless cell."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from gapless.serve.http.data_rows import Rows
from gapless.serve.http.json_size import SHOWN_BYTES, entries_of, is_binary, json_bytes, row_bytes
from gapless.serve.http.row_place import Place
from gapless.serve.http.topics import unit_of
from gapless.store.selection import times_of

MOST_BYTES: Final = 4 << 20  # of one page, as JSON
_STEP_BYTES: Final = 256 << 10  # of rows that are looked at together, and of the largest cell
_STEP_ROWS: Final = 512


class Column(BaseModel):
    """A column of a page; ``timestamp_ns`` is the first."""

    model_config = ConfigDict(extra="forbid")

    name: str
    type: str
    unit: str | None


class DataPage(BaseModel):
    """Some rows. All int64 and uint64 are texts of digits, NaN and infinite numbers are null.

    A binary cell is ``{"bytes": length, "base64": text}``, the text null beyond 1 KiB; times and decimals are
    texts, lists are lists, maps lists of pairs and structs objects of the same kinds of cells. A cell that would
    take more than about 256 KiB is ``{"too_large_bytes": size}``. The other formats, ``json-all`` too, hold every
    cell whole.
    """

    model_config = ConfigDict(extra="forbid")

    columns: list[Column]
    rows: list[list[Any]]
    next: str | None = Field(description="give it as `after` for the rows that follow; null at the end")


def page_of(rows: Rows, limit: int, after: Place | None) -> DataPage:
    """Return the first ``limit`` rows, fewer where they are more than 4 MiB; ``rows`` has one more if there is one."""
    taken, more = taken_of(rows.batches, limit, _page_bytes)
    return _told(rows.schema, taken, end_of(taken, after) if more else None)


def whole_page(rows: Rows) -> DataPage:
    """Return all rows, for those of which there are not many."""
    return _told(rows.schema, list(rows.batches), None)


def json_text(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Yield all rows as one page without an end, every cell whole, made piece by piece while somebody takes them."""
    yield b'{"columns":' + to_json(_described(schema)) + b',"rows":['
    comma = b""
    for piece in (piece for batch in batches for piece in _pieces(batch)):
        yield comma + to_json([list(row) for row in zip(*_whole(piece), strict=True)])[1:-1]
        comma = b","
    yield b'],"next":null}'


def _told(schema: pa.Schema, batches: list[pa.RecordBatch], end: Place | None) -> DataPage:
    told = [row for batch in batches for row in _rows(batch)]
    return DataPage(columns=_described(schema), rows=told, next=None if end is None else str(end))


def _described(schema: pa.Schema) -> list[Column]:
    return [Column(name=f.name, type=str(f.type), unit=unit_of(f)) for f in schema]


def _rows(batch: pa.RecordBatch) -> list[list[Any]]:
    return [list(row) for row in zip(*_columns(batch), strict=True)]


def _columns(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """Yield the cells of each column, those that are too large by their size."""
    most = _most_bytes(batch)
    for column in batch.columns:
        is_whole = most is None or json_bytes(column) <= most
        yield cells(column) if is_whole else [{"too_large_bytes": column.nbytes}]


def _whole(batch: pa.RecordBatch) -> Iterator[list[Any]]:
    """Yield the cells of each column, also those for which a page has no room."""
    for column in batch.columns:
        yield cells(column, whole=True)


def _page_bytes(batch: pa.RecordBatch) -> int:
    """Return at most how many bytes rows take on a page, where cells that are too large take few."""
    most = _most_bytes(batch)
    return row_bytes(batch) if most is None else sum(min(json_bytes(c), most) for c in batch.columns)


def _most_bytes(batch: pa.RecordBatch) -> int | None:
    """Return how large a cell of a row that stands by itself may be; None: no cell of these rows is too large."""
    if batch.num_rows > 1 or (size := row_bytes(batch)) <= _STEP_BYTES:
        return None
    return _STEP_BYTES if size <= MOST_BYTES else min(_STEP_BYTES, MOST_BYTES // batch.num_columns)


def taken_of(
    batches: Iterable[pa.RecordBatch], limit: int, size_of: Callable[[pa.RecordBatch], int] = row_bytes
) -> tuple[list[pa.RecordBatch], bool]:
    """Return the rows of a page, at least one if there is any, and whether there are more.

    ``size_of`` counts the bytes of rows on the page, at most 4 MiB. Large rows stand in a batch by themselves.
    """
    taken: list[pa.RecordBatch] = []
    left, room = limit, MOST_BYTES
    for piece in (piece for batch in batches for piece in _pieces(batch)):
        room -= size_of(piece)
        if left == 0 or (room < 0 and taken):
            return taken, True
        taken.append(piece.slice(0, left))
        if piece.num_rows > left:
            return taken, True
        left -= piece.num_rows
    return taken, False


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch, few at one time where they are large, down to one."""
    if batch.num_rows > 1 and (batch.num_rows > _STEP_ROWS or row_bytes(batch) > _STEP_BYTES):
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half))
        yield from _pieces(batch.slice(half))
    elif batch.num_rows:
        yield batch


def end_of(taken: list[pa.RecordBatch], after: Place | None) -> Place:
    """Return the place after the last row of a page that begins at ``after``."""
    times = np.concatenate([times_of(batch) for batch in taken])
    last_ns = int(times[-1])
    rows = len(times) - int(np.searchsorted(times, times[-1], "left"))
    if after is not None and after.time_ns == last_ns and rows == len(times):
        rows += after.rows
    return Place(last_ns, rows)


# -- cells -------------------------------------------------------------------------------------


def cells(column: pa.Array, *, whole: bool = False) -> list[Any]:
    """Return the cells of a column as JSON values, with ``whole`` also the bytes of long binary ones."""
    kind = column.type
    if t.is_dictionary(kind):
        return cells(column.dictionary_decode(), whole=whole)
    if t.is_duration(kind):
        column, kind = column.cast(pa.int64()), pa.int64()
    if t.is_int64(kind) or t.is_uint64(kind) or t.is_decimal(kind) or t.is_temporal(kind):
        return list(column.cast(pa.string()).to_pylist())
    if t.is_floating(kind):
        wide = column.cast(pa.float64())
        return list(pc.if_else(pc.is_finite(wide), wide, None).to_pylist())
    if is_binary(kind):
        return [None if value is None else _binary(value, whole=whole) for value in column.to_pylist()]
    if t.is_map(kind):
        return _maps(column, whole=whole)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return _lists(column, whole=whole)
    if t.is_struct(kind):
        return _structs(column, whole=whole)
    return list(column.to_pylist())


def _lists(column: pa.Array, *, whole: bool) -> list[Any]:
    """Return lists of cells, made of all items at once."""
    inner = cells(column.flatten(), whole=whole)
    lengths = pc.list_value_length(column).to_pylist()
    ends = np.cumsum([length or 0 for length in lengths]).tolist()
    return [
        None if length is None else inner[end - length : end]
        for length, end in zip(lengths, ends, strict=True)
    ]


def _maps(column: pa.MapArray, *, whole: bool) -> list[Any]:
    """Return maps as lists of pairs."""
    parts = (cells(entries, whole=whole) for entries in entries_of(column))
    pairs = [list(pair) for pair in zip(*parts, strict=True)]
    bounds = (np.asarray(column.offsets) - column.offsets[0].as_py()).tolist() if len(column) else []
    valid = column.is_valid().to_pylist()
    return [
        pairs[start:end] if ok else None
        for ok, start, end in zip(valid, bounds[:-1], bounds[1:], strict=True)
    ]


def _structs(column: pa.Array, *, whole: bool) -> list[Any]:
    names = [column.type.field(place).name for place in range(column.type.num_fields)]
    parts = [cells(part, whole=whole) for part in column.flatten()]
    rows: list[tuple[Any, ...]] = list(zip(*parts, strict=True)) if parts else [()] * len(column)
    valid = column.is_valid().to_pylist()
    return [dict(zip(names, row, strict=True)) if ok else None for ok, row in zip(valid, rows, strict=True)]


def _binary(value: bytes, *, whole: bool) -> dict[str, Any]:
    shown = base64.b64encode(value).decode() if whole or len(value) <= SHOWN_BYTES else None
    return {"bytes": len(value), "base64": shown}
