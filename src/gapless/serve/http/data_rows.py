"""The rows of a topic that a request asks for: a window of some columns, from where the last page ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from gapless.errors import UsageError
from gapless.serve.http.data_columns import DataColumns
from gapless.serve.http.row_place import Place
from gapless.serve.native.reading_watched import WatchedReader
from gapless.store.pyramid import numeric_fields
from gapless.store.pyramid_read import Curve, downsample
from gapless.store.reader import BATCH_ROWS
from gapless.store.selection import times_of

if TYPE_CHECKING:
    from gapless.store.reader import TopicReader

MOST_BUCKETS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Window:
    """What of a topic is wanted; ``columns`` None: all, ``end_ns`` is not included."""

    columns: Sequence[str] | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    limit: int | None = None
    after: Place | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Batches of one schema in order of time, read while they are taken."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def rows_of(reader: TopicReader, window: Window, gone: Callable[[], bool]) -> Rows:
    """Return the rows of a window; reading ends with ``pyarrow.ArrowCancelled`` once ``gone()`` is true.

    Raises NotFound for a column that the topic does not have.
    """
    watched = WatchedReader(reader, gone)
    start_ns = window.start_ns
    if window.after is not None:
        start_ns = window.after.time_ns if start_ns is None else max(start_ns, window.after.time_ns)
    columns = DataColumns.of(watched.schema, window.columns, watched.name)
    at_once = BATCH_ROWS if window.limit is None else min(BATCH_ROWS, max(1, window.limit))
    batches: Iterator[pa.RecordBatch] = map(
        columns.taken, watched.scan(columns.read, start_ns, window.end_ns, batch_rows=at_once)
    )
    if window.after is not None:
        batches = _past(batches, window.after)
    return Rows(columns.schema, batches if window.limit is None else _first(batches, window.limit))


def _past(batches: Iterator[pa.RecordBatch], place: Place) -> Iterator[pa.RecordBatch]:
    """Leave out the rows before a place, where the first batch begins at its time or later."""
    left = place.rows
    for batch in batches:
        same = int(np.searchsorted(times_of(batch), np.int64(place.time_ns), "right"))
        cut = min(left, same)
        left = left - cut if same == batch.num_rows else 0
        if cut < batch.num_rows:
            yield batch.slice(cut)


def _first(batches: Iterator[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in batches:
        yield batch.slice(0, left)
        left -= min(left, batch.num_rows)
        if left == 0:
            return


# -- fewer points than rows --------------------------------------------------------------------


def buckets_of(reader: TopicReader, window: Window, points: int, gone: Callable[[], bool]) -> Rows:
    """Return numeric columns in buckets of time: at most ``points / 2`` for each, with exact extremes.

    Columns: ``timestamp_ns`` and ``end_ns`` of the first and last row in it, ``field``, ``rows``, ``min``,
    ``max``, ``mean``. Raises UsageError for extremes of several columns that no one type holds exactly, and for
    more than 100,000 buckets in all.
    """
    watched = WatchedReader(reader, gone)
    names = window.columns
    if names is None:
        names = numeric_fields(watched.schema)
    if len(names) * points // 2 > MOST_BUCKETS:
        raise UsageError("too many buckets at one time", topic=reader.name, found=len(names) * points // 2,
                         expected=f"at most {MOST_BUCKETS}",
                         next_step="ask for fewer points or columns (columns=…)")  # fmt: skip
    curves = [downsample(watched, name, points, window.start_ns, window.end_ns) for name in names]
    kind = _extremes(curves, reader.name)
    schema = pa.schema(
        [
            pa.field("timestamp_ns", pa.int64(), nullable=False),
            pa.field("end_ns", pa.int64(), nullable=False),
            pa.field("field", pa.string(), nullable=False),
            pa.field("rows", pa.int64(), nullable=False),
            *(_with_unit(pa.field(name, kind), curves) for name in ("min", "max")),
            _with_unit(pa.field("mean", pa.float64()), curves),
        ]
    )
    return Rows(schema, (_bucket_batch(curve, schema) for curve in curves))


def _extremes(curves: Sequence[Curve], topic: str) -> pa.DataType:
    """Return the type of the column that holds the extremes of all curves as they are."""
    kinds = {pa.from_numpy_dtype(curve.minimum.dtype) for curve in curves}
    if len(kinds) < 2:
        return next(iter(kinds), pa.float64())
    try:
        for curve in curves:
            for values in (curve.minimum, curve.maximum):
                pa.array(values).cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise UsageError(
            "no one column holds whole numbers of this size and other numbers exactly",
            topic=topic,
            found=", ".join(curve.field for curve in curves),
            next_step="ask for these columns one at a time (columns=…)",
        ) from error
    return pa.float64()


def _with_unit(field: pa.Field, curves: Sequence[Curve]) -> pa.Field:
    units = {curve.unit for curve in curves}
    unit = next(iter(units)) if len(units) == 1 else None
    return field if unit is None else field.with_metadata({"unit": unit})


def _bucket_batch(curve: Curve, schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        curve.start_ns,
        curve.end_ns,
        [curve.field] * len(curve),
        curve.rows,
        pa.array(curve.minimum).cast(schema.field("min").type),
        pa.array(curve.maximum).cast(schema.field("max").type),
        curve.mean,
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
