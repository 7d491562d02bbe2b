"""A field drawn in few points: min, max and mean per bucket of time, whose extremes are exact.

Sealed topics answer from their pyramid without touching their rows, except in the two row groups that the
edges of a window cut. Short windows, fields and topics without a pyramid, and open sequences are read row by
row in a stream. A damaged pyramid is an error, never another curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.errors import UsageError
from gapless.store.bundle_state import Folder
from gapless.store.leaf import Leaf
from gapless.store.part_reader import Part
from gapless.store.pyramid import LEVELS
from gapless.store.pyramid_file import PyramidFile
from gapless.store.reader import TopicReader
from gapless.store.selection import Times, times_of

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Curve:
    """One field in buckets of time; ``rows`` counts those with a value, neither null nor NaN.

    ``row_groups`` counts the row groups of pyramids that were read for it.
    """

    topic: str
    field: str
    unit: str | None
    start_ns: Times
    end_ns: Times
    rows: NDArray[np.int64]
    minimum: Numbers
    maximum: Numbers
    mean: NDArray[np.float64]
    row_groups: int = 0

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

    The field is a column of numbers or bools, or a number in one: ``pose.position.x``, ``joints[3]``. The
    minimum and maximum of each bucket are those of its rows, exact also for int64; NaN and null are left
    out. Raises NotFound for an unknown field, UsageError for one that is not a number.
    """
    leaf = Leaf.of(reader.schema, field, reader.name)
    if not leaf.is_number:
        raise UsageError("only numbers can be drawn", topic=reader.name, field=field, found=str(leaf.type))
    buckets = _Buckets(points, leaf)
    window = buckets.span(reader, start_ns, end_ns)
    if window is None:
        return buckets.curve(reader.name)
    with ExitStack() as opened:
        files = _pyramids(reader, leaf, opened)
        for piece in _pieces(reader, leaf, *window, points // 2, files):
            buckets.add(piece)
    return buckets.curve(reader.name, sum(file.row_groups_read for file in files))


def tally(
    reader: TopicReader,
    leaf: Leaf,
    points: int = 2000,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Curve:
    """Return how many rows have a value that is no number, in at most ``points / 2`` buckets.

    Only times and ``rows`` of the curve mean anything. Every row of the window is read.
    """
    buckets = _Buckets(points, leaf)
    window = buckets.span(reader, start_ns, end_ns)
    for batch in reader.scan([leaf.column], window[0], window[1] + 1) if window else ():
        times = times_of(batch)[leaf.values(batch).is_valid().to_numpy(zero_copy_only=False)]
        ones = np.ones(len(times), np.int64)
        buckets.add(_Pieces(times, times, ones, ones, ones, ones.astype(np.float64)))
    return buckets.curve(reader.name)


class _Buckets:
    """The running minimum, maximum and mean of equal stretches of time, half as many as points."""

    def __init__(self, points: int, leaf: Leaf) -> None:
        if points < 2:
            raise UsageError("a curve needs at least two points", found=points)
        count = points // 2
        dtype: np.dtype[Any] = np.dtype(np.int64)
        if pa.types.is_floating(leaf.type):
            dtype = np.dtype(np.float64)
        elif pa.types.is_unsigned_integer(leaf.type):
            dtype = np.dtype(np.uint64)
        top, bottom = (np.inf, -np.inf) if dtype.kind == "f" else (np.iinfo(dtype).max, np.iinfo(dtype).min)
        self._leaf = leaf
        self._low, self._high = np.full(count, top, dtype), np.full(count, bottom, dtype)
        self._start = np.full(count, np.iinfo(np.int64).max, np.int64)
        self._end = np.full(count, np.iinfo(np.int64).min, np.int64)
        self._rows = np.zeros(count, np.int64)
        self._total = np.zeros(count, np.float64)
        self._first, self._width = np.int64(0), np.uint64(1)

    def span(self, reader: TopicReader, start_ns: int | None, end_ns: int | None) -> tuple[int, int] | None:
        """Divide the window, as far as there are rows; return its first and last time, None if there are none."""
        first, last = reader.start_ns, reader.end_ns
        if first is None or last is None:
            return None
        first = first if start_ns is None else max(first, start_ns)
        last = last if end_ns is None else min(last, end_ns - 1)
        if first > last:
            return None
        self._first = np.int64(first)
        self._width = np.uint64(-(-(last - first + 1) // len(self._rows)))
        return first, last

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

    def curve(self, topic: str, row_groups: int = 0) -> Curve:
        """Return the buckets that got any rows."""
        used = self._rows > 0
        with np.errstate(invalid="ignore"):  # minus and plus infinity in one bucket have no mean
            mean = self._total[used] / self._rows[used]
        return Curve(
            topic,
            self._leaf.name,
            self._leaf.unit,
            self._start[used],
            self._end[used],
            self._rows[used],
            self._low[used],
            self._high[used],
            mean,
            row_groups,
        )


def _pyramids(reader: TopicReader, leaf: Leaf, opened: ExitStack) -> list[PyramidFile]:
    """Open the pyramids of all that holds rows of the topic; [] where the field is not in each of them."""
    files = []
    for folder in reader.bundle.folders:
        if reader.name in folder.topic_names() and _has_rows(folder, reader.name):
            file = _pyramid(folder, reader.name)
            if leaf.steps or file is None or not opened.enter_context(file).has(leaf.column):
                return []
            if not (file.counts(leaf.column) or _is_whole(folder, reader.name, leaf)):
                return []
            files.append(file)
    return files


def _is_whole(folder: Folder, topic: str, leaf: Leaf) -> bool:
    """Tell whether every row of a sealed topic has a value that is not NaN, as its parts' statistics say."""
    unknown = {"nulls": 1, "nans": 1}
    parts = [source for source in folder.sources(topic, []) if isinstance(source, Part)]
    known = [part.stats.get(leaf.column, unknown) for part in parts]
    return not any(stats.get("nulls", 1) or stats.get("nans", 1) for stats in known)


def _has_rows(folder: Folder, topic: str) -> bool:
    return any(source.rows for source in folder.sources(topic, []))


def _pyramid(folder: Folder, topic: str) -> PyramidFile | None:
    """Return the topic's pyramid file, not open yet; None if there is none to go by."""
    known = folder.manifest["record"].get("pyramids", {}).get(topic) if folder.manifest else None
    return None if known is None else PyramidFile(folder.path, known, topic)


def _pieces(
    reader: TopicReader, leaf: Leaf, first_ns: int, last_ns: int, wanted: int, files: Sequence[PyramidFile]
) -> Iterator[_Pieces]:
    chosen = _choose(files, leaf.column, first_ns, last_ns, wanted)
    if chosen is None:
        yield from _from_rows(reader, leaf, first_ns, last_ns)
    else:
        yield from _from_pyramid(reader, leaf, first_ns, last_ns, chosen)


def _choose(
    files: Sequence[PyramidFile], field: str, first_ns: int, last_ns: int, wanted: int
) -> list[pa.Table] | None:
    """Return the buckets of the coarsest level that has the wanted number in the window, None if none has.

    A level that the footers rule out is not read, and one whose next coarser level was too coarse has less than
    16 times the wanted number: few row groups, however long the topic is.
    """
    for level in reversed(LEVELS):
        if sum(file.most(level, first_ns, last_ns) for file in files) < wanted:
            continue
        tables = [file.buckets(level, field, first_ns, last_ns) for file in files]
        if sum(table.num_rows for table in tables) >= wanted:
            return tables
    return None


def _from_pyramid(
    reader: TopicReader, leaf: Leaf, first_ns: int, last_ns: int, tables: list[pa.Table]
) -> Iterator[_Pieces]:
    spans = [(table["start_ns"].to_numpy(), table["end_ns"].to_numpy()) for table in tables]
    left_ns, right_ns = _edges(spans, first_ns, last_ns)
    low, high, mean = (f"{leaf.column}:{what}" for what in ("min", "max", "mean"))
    # Rows up to left_ns and from right_ns on are read; buckets wholly between the two stand for theirs.
    for table, (starts, ends) in zip(tables, spans, strict=True):
        whole = (starts > left_ns) & (ends < right_ns) & (table["count"].to_numpy() > 0)
        kept = table.filter(pa.array(whole))
        rows = kept["count"].to_numpy().astype(np.int64)
        yield _Pieces(
            starts[whole],
            ends[whole],
            rows,
            kept[low].to_numpy(),
            kept[high].to_numpy(),
            kept[mean].to_numpy() * rows,
        )
    if left_ns >= right_ns:
        yield from _from_rows(reader, leaf, first_ns, last_ns)
        return
    if left_ns >= first_ns:
        yield from _from_rows(reader, leaf, first_ns, left_ns)
    if right_ns <= last_ns:
        yield from _from_rows(reader, leaf, right_ns, last_ns)


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


def _from_rows(reader: TopicReader, leaf: Leaf, first_ns: int, last_ns: int) -> Iterator[_Pieces]:
    for batch in reader.scan([leaf.column], first_ns, last_ns + 1):
        column = leaf.values(batch)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        values = leaf.numbers(column)
        if values.dtype.kind == "f":
            valid &= ~np.isnan(values)
        times, values = times_of(batch)[valid], values[valid]
        yield _Pieces(times, times, np.ones(len(times), np.int64), values, values, values.astype(np.float64))
