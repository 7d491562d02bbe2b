"""A field drawn in few points: min, max and mean per bucket of time, whose extremes are exact.

Sealed topics answer from their pyramid without touching their rows, except at the two edges of a
window. Short windows, damaged or missing pyramids and open sequences are read row by row in a stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.store.bundle_state import Folder
from gapless.store.pyramid import LEVELS, numeric_fields
from gapless.store.reader import TopicReader
from gapless.store.selection import Times, times_of

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """One field in buckets of time; ``rows`` counts what each bucket was made from."""

    topic: str
    field: str
    unit: str | None
    start_ns: Times
    end_ns: Times
    rows: NDArray[np.int64]
    minimum: Numbers
    maximum: Numbers
    mean: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start_ns)

    def to_arrow(self) -> pa.Table:
        """Return the buckets as a table."""
        return pa.table(
            {
                "start_ns": self.start_ns,
                "end_ns": self.end_ns,
                "rows": self.rows,
                "min": self.minimum,
                "max": self.maximum,
                "mean": self.mean,
            }
        )


@dataclass(frozen=True)
class _Pieces:
    """Sorted or unsorted stretches of a field: single rows, or buckets of the pyramid."""

    start_ns: Times
    end_ns: Times
    rows: NDArray[np.int64]
    low: Numbers
    high: Numbers
    total: NDArray[np.float64]


def downsample(
    reader: TopicReader,
    field: str,
    points: int = 2000,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Curve:
    """Return the field in at most ``points / 2`` buckets, so that two points each draw it.

    The minimum and maximum of each bucket are those of its rows, exact also for int64; NaN and null are
    left out. Raises NotFound for an unknown field, UsageError for one that is not a number.
    """
    declared = _numeric(reader, field)
    if points < 2:
        raise UsageError("a curve needs at least two points", found=points)
    first, last = reader.start_ns, reader.end_ns
    buckets = _Buckets(points // 2, declared.type)
    if first is not None and last is not None:
        first = first if start_ns is None else max(first, start_ns)
        last = last if end_ns is None else min(last, end_ns - 1)
        if first <= last:
            buckets.span(first, last)
            for piece in _pieces(reader, field, first, last, points // 2):
                buckets.add(piece)
    unit = (declared.metadata or {}).get(b"unit")
    return buckets.curve(reader.name, field, unit.decode() if unit else None)


class _Buckets:
    """The running minimum, maximum and mean of equal stretches of time."""

    def __init__(self, count: int, kind: pa.DataType) -> None:
        dtype: np.dtype[Any] = np.dtype(np.int64)
        if pa.types.is_floating(kind):
            dtype = np.dtype(np.float64)
        elif pa.types.is_unsigned_integer(kind):
            dtype = np.dtype(np.uint64)
        top, bottom = (np.inf, -np.inf) if dtype.kind == "f" else (np.iinfo(dtype).max, np.iinfo(dtype).min)
        self._low, self._high = np.full(count, top, dtype), np.full(count, bottom, dtype)
        self._start = np.full(count, np.iinfo(np.int64).max, np.int64)
        self._end = np.full(count, np.iinfo(np.int64).min, np.int64)
        self._rows = np.zeros(count, np.int64)
        self._total = np.zeros(count, np.float64)
        self._first, self._width = np.int64(0), np.uint64(1)

    def span(self, first_ns: int, last_ns: int) -> None:
        """Set the time that the buckets divide."""
        self._first = np.int64(first_ns)
        self._width = np.uint64(-(-(last_ns - first_ns + 1) // len(self._rows)))

    def add(self, piece: _Pieces) -> None:
        """Put each stretch into the bucket in which it begins."""
        if not len(piece.rows):
            return
        since = piece.start_ns.view(np.uint64) - self._first.view(np.uint64)  # exact over all of int64
        place = (since // self._width).astype(np.int64)
        if len(place) > 1 and bool((place[1:] < place[:-1]).any()):  # parts may overlap in time
            order = np.argsort(place, kind="stable")
            piece = _Pieces(*(getattr(piece, name)[order] for name in piece.__dataclass_fields__))
            place = place[order]
        heads = np.flatnonzero(np.concatenate(([True], place[1:] != place[:-1])))
        where = place[heads]
        with np.errstate(invalid="ignore", over="ignore"):
            self._low[where] = np.minimum(self._low[where], np.minimum.reduceat(piece.low, heads))
            self._high[where] = np.maximum(self._high[where], np.maximum.reduceat(piece.high, heads))
            self._total[where] += np.add.reduceat(piece.total, heads)
        self._start[where] = np.minimum(self._start[where], np.minimum.reduceat(piece.start_ns, heads))
        self._end[where] = np.maximum(self._end[where], np.maximum.reduceat(piece.end_ns, heads))
        self._rows[where] += np.add.reduceat(piece.rows, heads)

    def curve(self, topic: str, field: str, unit: str | None) -> Curve:
        """Return the buckets that got any rows."""
        used = self._rows > 0
        with np.errstate(invalid="ignore"):  # minus and plus infinity in one bucket have no mean
            mean = self._total[used] / self._rows[used]
        return Curve(
            topic,
            field,
            unit,
            self._start[used],
            self._end[used],
            self._rows[used],
            self._low[used],
            self._high[used],
            mean,
        )


def _pieces(reader: TopicReader, field: str, first_ns: int, last_ns: int, wanted: int) -> Iterator[_Pieces]:
    tables = []
    for folder in reader.bundle.folders:
        if reader.name in folder.topic_names() and _has_rows(folder, reader.name):
            table = _pyramid(folder, reader.name, field)
            if table is None:
                break
            tables.append(table)
    else:
        chosen = _choose(tables, first_ns, last_ns, wanted)
        if chosen is not None:
            yield from _from_pyramid(reader, field, first_ns, last_ns, chosen)
            return
    yield from _from_rows(reader, field, first_ns, last_ns)


def _has_rows(folder: Folder, topic: str) -> bool:
    return any(source.rows for source in folder.sources(topic, []))


def _pyramid(folder: Folder, topic: str, field: str) -> pa.Table | None:
    """Return the buckets of one field, None if there is no pyramid to go by."""
    known = folder.manifest["record"].get("pyramids", {}).get(topic) if folder.manifest else None
    if known is None:
        return None
    path = folder.path / known["path"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"a pyramid cannot be read: {path}", topic=topic, found=str(error)) from error
    if hashlib.sha256(data).hexdigest() != known["sha256"]:
        raise IntegrityError(
            f"a pyramid is not what was sealed: {path}", topic=topic, expected=known["sha256"]
        )
    names = ["level", "rows", "start_ns", "end_ns", *(f"{field}:{what}" for what in ("min", "max", "mean"))]
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    if not set(names) <= set(file.schema_arrow.names):
        return None
    return file.read(columns=names).select(names)


def _choose(tables: list[pa.Table], first_ns: int, last_ns: int, wanted: int) -> list[pa.Table] | None:
    """Return the coarsest level that has the wanted number of buckets in the window, None if none has."""
    for level in reversed(LEVELS):
        chosen = [table.filter(_at_level(table, level)) for table in tables]
        count = 0
        for table in chosen:
            starts, ends = table["start_ns"].to_numpy(), table["end_ns"].to_numpy()
            count += int(((ends >= first_ns) & (starts <= last_ns)).sum())
        if count >= wanted:
            return chosen
    return None


def _at_level(table: pa.Table, level: int) -> pa.Array:
    return pa.array(table["level"].to_numpy() == level)


def _from_pyramid(
    reader: TopicReader, field: str, first_ns: int, last_ns: int, tables: list[pa.Table]
) -> Iterator[_Pieces]:
    spans = [(table["start_ns"].to_numpy(), table["end_ns"].to_numpy()) for table in tables]
    left_ns, right_ns = _edges(spans, first_ns, last_ns)
    # Rows up to left_ns and from right_ns on are read; buckets wholly between the two stand for theirs.
    for table, (starts, ends) in zip(tables, spans, strict=True):
        whole = (starts > left_ns) & (ends < right_ns) & table[f"{field}:min"].is_valid().to_numpy()
        kept = table.filter(pa.array(whole))
        rows = kept["rows"].to_numpy().astype(np.int64)
        yield _Pieces(
            starts[whole],
            ends[whole],
            rows,
            kept[f"{field}:min"].to_numpy(),
            kept[f"{field}:max"].to_numpy(),
            kept[f"{field}:mean"].to_numpy() * rows,
        )
    if left_ns >= right_ns:
        yield from _from_rows(reader, field, first_ns, last_ns)
        return
    if left_ns >= first_ns:
        yield from _from_rows(reader, field, first_ns, left_ns)
    if right_ns <= last_ns:
        yield from _from_rows(reader, field, right_ns, last_ns)


def _edges(spans: list[tuple[Times, Times]], first_ns: int, last_ns: int) -> tuple[int, int]:
    """Return times such that no bucket that begins after the one and ends before the other is cut.

    A bucket that the window cuts moves the edge to its end; so does one that reaches over that edge,
    because its rows cannot be told from those that are read there.
    """
    starts = np.concatenate([start for start, _ in spans])
    ends = np.concatenate([end for _, end in spans])
    left, right = first_ns - 1, last_ns + 1
    while len(over := ends[(starts <= left) & (ends > left)]):
        left = int(over.max())
    while len(over := starts[(ends >= right) & (starts < right)]):
        right = int(over.min())
    return left, right


def _from_rows(reader: TopicReader, field: str, first_ns: int, last_ns: int) -> Iterator[_Pieces]:
    for batch in reader.scan([field], first_ns, last_ns + 1):
        column = batch.column(field)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        boolean = pa.types.is_boolean(column.type)
        values = column.fill_null(False if boolean else 0).to_numpy(zero_copy_only=False)
        if values.dtype.kind == "f":
            values = values.astype(np.float64, copy=False)
            valid &= ~np.isnan(values)
        else:
            values = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64, copy=False)
        times, values = times_of(batch)[valid], values[valid]
        yield _Pieces(times, times, np.ones(len(times), np.int64), values, values, values.astype(np.float64))


def _numeric(reader: TopicReader, field: str) -> pa.Field:
    if field not in reader.schema.names:
        raise NotFound("the topic has no such column", topic=reader.name, field=field,
                       expected=f"one of {', '.join(numeric_fields(reader.schema))}",
                       next_step="correct the column name")  # fmt: skip
    declared = reader.schema.field(field)
    if field not in numeric_fields(reader.schema):
        raise UsageError(
            "only numbers can be drawn", topic=reader.name, field=field, found=str(declared.type)
        )
    return declared
