"""A sealed pyramid file: compared with its digest once, then read only where a window needs it.

What was verified is remembered by the file's identity on disk (inode, size, times of change), so that zooming
does not hash it again. Bytes that change behind that are found by the page checksums when they are read.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.errors import IntegrityError

_CHUNK_BYTES = 1 << 20
_MOST_FILES = 128  # a file's parsed footer takes some KiB, of a thousand columns some MiB
_SPAN = ("level", "start_ns", "end_ns")
_WHAT = ("min", "max", "mean")


@dataclass(frozen=True, slots=True)
class _Group:
    """One row group: which levels it may hold, and from when to when its buckets may reach."""

    number: int
    levels: tuple[int, int]
    start_ns: int
    end_ns: int
    rows: int

    def may_hold(self, level: int, first_ns: int, last_ns: int) -> bool:
        at_level = self.levels[0] <= level <= self.levels[1]
        return at_level and self.start_ns <= last_ns and self.end_ns >= first_ns


@dataclass(frozen=True, slots=True)
class _Layout:
    """The footer of a file that is what was sealed."""

    footer: pq.FileMetaData
    names: frozenset[str]
    groups: tuple[_Group, ...]


class PyramidFile:
    """The buckets of one topic in a bundle or layer, open for one question.

    ``row_groups_read`` counts what was read of it. Every method raises IntegrityError for a file that is not
    what was sealed.
    """

    def __init__(self, bundle: Path, entry: Mapping[str, Any], topic: str) -> None:
        relative = PurePosixPath(entry["path"])
        if relative.is_absolute() or ".." in relative.parts:
            raise IntegrityError("a pyramid lies outside its bundle", topic=topic, found=entry["path"])
        self.path = bundle / relative
        self.topic = topic
        self.row_groups_read = 0
        self._sha256: str = entry["sha256"]
        self._read: dict[tuple[int, str], pa.Table] = {}

    def __enter__(self) -> Self:
        with self._naming_file(), ExitStack() as opened:
            source = opened.enter_context(self.path.open("rb"))
            self._layout = self._verified(source)
            footer = self._layout.footer
            self._file = opened.enter_context(
                pq.ParquetFile(source, metadata=footer, page_checksum_verification=True, pre_buffer=False)
            )
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def has(self, field: str) -> bool:
        """Tell whether there are buckets of the field."""
        return {*_SPAN, "rows", *_columns(field)} <= self._layout.names

    def counts(self, field: str) -> bool:
        """Tell whether buckets say how many of their values count; files of earlier releases do not."""
        return _count(field) in self._layout.names

    def most(self, level: int, first_ns: int, last_ns: int) -> int:
        """Return how many buckets of a level may reach into ``[first_ns, last_ns]``, by the footer alone."""
        return sum(group.rows for group in self._groups(level, first_ns, last_ns))

    def buckets(self, level: int, field: str, first_ns: int, last_ns: int) -> pa.Table:
        """Return the buckets of a level that reach into ``[first_ns, last_ns]``, both ends included.

        Columns: ``count`` (values that are neither null nor NaN; all rows where the file does not count),
        ``start_ns``, ``end_ns``, and min, max and mean of the field.
        """
        stored = [self._counted(field), "start_ns", "end_ns", *_columns(field)]
        names = ["count", *stored[1:]]
        found = []
        for group in self._groups(level, first_ns, last_ns):
            table = self._row_group(group, field)
            starts, ends = table["start_ns"].to_numpy(), table["end_ns"].to_numpy()
            here = (table["level"].to_numpy() == level) & (starts <= last_ns) & (ends >= first_ns)
            found.append(table.select(stored).rename_columns(names).filter(pa.array(here)))
        if not found:
            nothing = self._layout.footer.schema.to_arrow_schema().empty_table()
            return nothing.select(stored).rename_columns(names)
        return pa.concat_tables(found)

    def _counted(self, field: str) -> str:
        return _count(field) if self.counts(field) else "rows"

    def _groups(self, level: int, first_ns: int, last_ns: int) -> list[_Group]:
        return [group for group in self._layout.groups if group.may_hold(level, first_ns, last_ns)]

    def _row_group(self, group: _Group, field: str) -> pa.Table:
        key = (group.number, field)
        if key in self._read:  # written before levels had row groups of their own
            return self._read[key]
        names = [*_SPAN, self._counted(field), *_columns(field)]
        with self._naming_file():
            # pyarrow also returns columns whose dotted name merely begins with a wanted name.
            table = self._file.read_row_group(group.number, columns=names).select(names)
            table.validate()
        if any(len(column) != group.rows for column in table.columns):
            raise self._damage("a row group of a pyramid is short", table.num_rows, group.rows)
        self.row_groups_read += 1
        self._read[key] = table
        return table

    def _verified(self, source: BinaryIO) -> _Layout:
        status = os.fstat(source.fileno())
        identity = (
            str(self.path), status.st_dev, status.st_ino, status.st_size,
            status.st_mtime_ns, status.st_ctime_ns, self._sha256,
        )  # fmt: skip
        layout = _VERIFIED.get(identity)
        if layout is None:
            digest = hashlib.sha256()
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
            if digest.hexdigest() != self._sha256:
                raise self._damage("a pyramid is not what was sealed", digest.hexdigest(), self._sha256)
            source.seek(0)
            layout = _layout(pq.read_metadata(source))
            _VERIFIED.put(identity, layout)
        source.seek(0)
        return layout

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowMemoryError:  # this machine is at fault, not the file
            raise
        except (OSError, pa.ArrowException) as error:
            raise self._damage("a pyramid cannot be read", str(error), "a sealed pyramid") from error

    def _damage(self, message: str, found: object, expected: object) -> IntegrityError:
        return IntegrityError(f"{message}: {self.path}", topic=self.topic, found=found, expected=expected)


class _Verified:
    """The layouts of the files that were verified last; any thread may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._layouts: OrderedDict[tuple[object, ...], _Layout] = OrderedDict()

    def get(self, identity: tuple[object, ...]) -> _Layout | None:
        with self._lock:
            layout = self._layouts.get(identity)
            if layout is not None:
                self._layouts.move_to_end(identity)
            return layout

    def put(self, identity: tuple[object, ...], layout: _Layout) -> None:
        with self._lock:
            self._layouts[identity] = layout
            while len(self._layouts) > self._most:
                self._layouts.popitem(last=False)


_VERIFIED = _Verified(_MOST_FILES)


def _columns(field: str) -> list[str]:
    return [f"{field}:{what}" for what in _WHAT]


def _count(field: str) -> str:
    return f"{field}:count"


def _layout(footer: pq.FileMetaData) -> _Layout:
    names = [footer.schema.column(i).path for i in range(footer.num_columns)]
    places = {name: names.index(name) for name in _SPAN if name in names}
    groups = [_group(footer.row_group(n), n, places) for n in range(footer.num_row_groups)]
    return _Layout(footer, frozenset(names), tuple(groups))


def _group(group: pq.RowGroupMetaData, number: int, places: Mapping[str, int]) -> _Group:
    """Return what statistics tell of a row group; without any it may hold everything."""
    whole = (int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max))
    spans = {}
    for name in _SPAN:
        known = group.column(places[name]).statistics if name in places else None
        spans[name] = (known.min, known.max) if known is not None and known.has_min_max else whole
    return _Group(number, spans["level"], spans["start_ns"][0], spans["end_ns"][1], group.num_rows)
