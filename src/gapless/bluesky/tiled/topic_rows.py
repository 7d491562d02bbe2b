"""The rows of a topic in partitions of bounded size, each of which is read without the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.store.reader import TopicReader

PARTITION_ROWS = 65_536


class Rows(Protocol):
    """What a table of the tree is made of: rows with a fixed order, in partitions."""

    @property
    def schema(self) -> pa.Schema:
        """The columns under the names they are served by."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of rows of each partition; at least one partition."""

    @property
    def with_nulls(self) -> frozenset[str]:
        """The integer and boolean columns that hold a null."""

    @property
    def version(self) -> str:
        """A text that changes when the rows change."""

    def read(self, partition: int, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a partition, in the order they are named in."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, its end excluded and None for everything to that side, and the rows in it."""

    start_ns: int | None
    end_ns: int | None
    rows: int


class TopicRows:
    """All rows of a topic in order of time; a partition is a span of time. ``hidden`` columns are left out."""

    def __init__(self, topic: TopicReader, version: str, *, hidden: Sequence[str] = ()) -> None:
        self._topic = topic
        self._stored = served_names([name for name in topic.schema.names if name not in hidden])
        self._version = version

    @property
    def version(self) -> str:
        """A text that changes when the rows change."""
        return self._version

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns under the names they are served by."""
        fields = [self._topic.schema.field(stored).with_name(name) for name, stored in self._stored.items()]
        return pa.schema(fields)

    @cached_property
    def windows(self) -> list[Window]:
        """The span of time of each partition."""
        return windows(self._topic)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of rows of each partition; at least one partition."""
        return tuple(window.rows for window in self.windows)

    @cached_property
    def with_nulls(self) -> frozenset[str]:
        """The integer and boolean columns that hold a null."""
        stored = columns_with_nulls(self._topic, list(self._stored.values()))
        return frozenset(name for name, column in self._stored.items() if column in stored)

    def read(self, partition: int, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a partition, in the order they are named in."""
        window = self.windows[partition]
        stored = [self._stored[name] for name in columns]
        table = self._topic.to_arrow(stored, window.start_ns, window.end_ns)
        return table.select(stored).rename_columns(list(columns))


def served_names(names: Sequence[str]) -> dict[str, str]:
    """Return served name to column: Tiled keeps names that begin with ``_`` for itself."""
    served: dict[str, str] = {name: name for name in names if not name.startswith("_")}
    for name in names:
        if name.startswith("_"):
            free = name.lstrip("_") or "column"
            while free in served:
                free += "_"
            served[free] = name
    order = {stored: name for name, stored in served.items()}
    return {order[name]: name for name in names}


def columns_with_nulls(topic: TopicReader, columns: Sequence[str]) -> frozenset[str]:
    """Return which of the integer and boolean columns hold a null, from the footers where rows are sealed."""
    asked = [
        name
        for name in columns
        if (field := topic.schema.field(name)).nullable
        and (pa.types.is_integer(field.type) or pa.types.is_boolean(field.type))
    ]
    parts = topic.parts()
    found = {n for part in parts for n in asked if part.stats.get(n, {"nulls": 1})["nulls"]}
    rest = [name for name in asked if name not in found]
    if rest and sum(part.rows for part in parts) != topic.rows:
        for batch in topic.scan(rest):
            found |= {name for name in rest if batch.column(name).null_count}
    return frozenset(found)


# -- spans of time -----------------------------------------------------------------------------


def windows(topic: TopicReader, rows_at_most: int = PARTITION_ROWS) -> list[Window]:
    """Return spans that cover all time, each with about ``rows_at_most`` rows or fewer.

    Rows of one time are never divided. Sealed rows are counted from the footers, those of an open
    recording by reading their times.
    """
    groups = _row_groups(topic)
    newer = topic.rows - sum(rows for _, _, rows in groups)
    if newer:
        last_ns = max((last for _, last, _ in groups), default=None)
        after = list(_counted(topic, None if last_ns is None else last_ns + 1, None, rows_at_most))
        if sum(rows for _, _, rows in after) == newer:
            groups += after
        else:  # rows of an open recording among the sealed ones
            groups = list(_counted(topic, None, None, rows_at_most))
    return _covering(_joined(topic, groups, rows_at_most))


def _row_groups(topic: TopicReader) -> list[tuple[int, int, int]]:
    """Return first time, last time and rows of what can be read apart, in order; none overlaps another."""
    found = sorted(
        (first, last, part.layout.row_group(group).num_rows)
        for part in topic.parts()
        for group, (first, last) in enumerate(part.group_spans)
    )
    apart: list[tuple[int, int, int]] = []
    for first, last, rows in found:
        if apart and first <= apart[-1][1]:
            begun, reach, before = apart[-1]
            apart[-1] = (begun, max(reach, last), before + rows)
        else:
            apart.append((first, last, rows))
    return apart


def _joined(
    topic: TopicReader, groups: list[tuple[int, int, int]], rows_at_most: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the groups, small neighbours joined and large ones divided where the time changes."""
    held: tuple[int, int, int] | None = None
    for first, last, rows in groups:
        if held is not None and held[2] + rows <= rows_at_most:
            held = (held[0], last, held[2] + rows)
            continue
        if held is not None:
            yield held
        held = (first, last, rows)
        if rows > 2 * rows_at_most:
            held = None
            yield from _counted(topic, first, last + 1, rows_at_most)
    if held is not None:
        yield held


def _counted(
    topic: TopicReader, start_ns: int | None, end_ns: int | None, rows_at_most: int
) -> Iterator[tuple[int, int, int]]:
    """Yield groups of rows found by reading times only; a change of time ends one that is full."""
    held: tuple[int, int, int] | None = None
    for batch in topic.scan([], start_ns, end_ns, batch_rows=rows_at_most):
        times: npt.NDArray[np.int64] = batch.column("timestamp_ns").to_numpy()
        starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1])))
        if held is not None and held[1] != times[0]:
            if held[2] >= rows_at_most:
                yield held
                held = None
        elif held is not None:  # the same time goes on: it stays with what it began in
            same = int(starts[1]) if len(starts) > 1 else len(times)
            held = (held[0], held[1], held[2] + same)
            if same == len(times):
                continue
            times = times[same:]
            if held[2] >= rows_at_most:
                yield held
                held = None
        first, rows = (int(times[0]), 0) if held is None else (held[0], held[2])
        held = (first, int(times[-1]), rows + len(times))
    if held is not None:
        yield held


def _covering(groups: Iterator[tuple[int, int, int]]) -> list[Window]:
    known = list(groups)
    if not known:
        return [Window(None, None, 0)]
    starts: list[int | None] = [None, *(first for first, _, _ in known[1:])]
    ends = [*starts[1:], None]
    return [Window(start, end, rows) for start, end, (_, _, rows) in zip(starts, ends, known, strict=True)]
