"""One sealed Parquet part, read so that damaged bytes raise IntegrityError and never give other rows.

The footer is compared with its digest in the manifest before anything is believed; pages carry
checksums that pyarrow verifies; row counts and time order are compared with what was promised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.errors import IntegrityError
from gapless.store.declaration import TIME
from gapless.store.selection import Selection, Times, batches_of
from gapless.store.statistics import STATS_KEY

_TAIL_BYTES = 8  # length of the footer, then PAR1
_DERIVED_ADVICE = (
    "`gapless features status PIPELINE --deep` names what is damaged,"
    " and `gapless features run PIPELINE --force-from STEP` computes it again"
)


@dataclass(frozen=True)
class Part:
    """One Parquet part as its manifest lists it; rows inside are sorted by time, then ``_seq``."""

    path: Path
    rows: int
    size_bytes: int
    footer_sha256: str
    start_ns: int | None
    end_ns: int | None
    topic: str

    @classmethod
    def of(cls, bundle: Path, entry: Mapping[str, Any], topic: str) -> Part:
        """Return the part that a manifest entry describes."""
        relative = PurePosixPath(entry["path"])
        if relative.is_absolute() or ".." in relative.parts:
            raise IntegrityError("a part lies outside its bundle", topic=topic, found=entry["path"])
        return cls(
            bundle / relative,
            entry["rows"],
            entry["bytes"],
            entry["footer_sha256"],
            entry["start_ns"],
            entry["end_ns"],
            topic,
        )

    @cached_property
    def footer(self) -> bytes:
        """The footer as it is in the file, compared with the digest of the manifest."""
        with self._naming_file(), self.path.open("rb") as file:
            size = file.seek(0, 2)
            if size != self.size_bytes:
                raise self._damage("a file has the wrong size", size, self.size_bytes)
            file.seek(max(0, size - _TAIL_BYTES))
            length = int.from_bytes(file.read(4), "little") + _TAIL_BYTES
            file.seek(max(0, size - length))
            data = file.read()
        found = hashlib.sha256(data).hexdigest()
        if found != self.footer_sha256:
            raise self._damage("the footer of a file is not what was sealed", found, self.footer_sha256)
        return data

    @cached_property
    def layout(self) -> pq.FileMetaData:
        """The parsed footer."""
        with self._naming_file():
            layout = pq.read_metadata(pa.BufferReader(self.footer))
        if layout.num_rows != self.rows:
            raise self._damage("a file has the wrong number of rows", layout.num_rows, self.rows)
        return layout

    @cached_property
    def stats(self) -> dict[str, dict[str, Any]]:
        """Minimum, maximum, nulls and NaN of each column, as the sealer counted them."""
        known = (self.layout.metadata or {}).get(STATS_KEY)
        stats: dict[str, dict[str, Any]] = json.loads(known) if known else {}
        return stats

    def batches(self, selection: Selection, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the selected rows in time order, holding one row group in memory."""
        groups = self.row_groups(selection)
        if not groups:
            return
        with self._open() as file:
            last_ns = None
            for group in groups:
                table, times = self._read_group(file, group, selection.read_names)
                if last_ns is not None and times[0] < last_ns:
                    raise self._damage("row groups are not in time order", int(times[0]), f">= {last_ns}")
                last_ns = int(times[-1])
                low, high = selection.bounds(times)
                kept = self._as_declared(table.slice(low, high - low), selection)
                yield from batches_of(selection.project(kept), selection.output, batch_rows)

    def row_groups(self, selection: Selection) -> list[int]:
        """Return the row groups that can hold selected rows, going by the statistics in the footer."""
        if self.rows == 0 or self.start_ns is None or self.end_ns is None:
            return []
        if selection.excludes(self.start_ns, self.end_ns):
            return []
        groups = [
            group
            for group, (first, last) in enumerate(self.group_spans)
            if not selection.excludes(first, last)
        ]
        if selection.filter is None or not selection.prunes_exactly(self._nan_columns(selection.stored)):
            return groups
        import pyarrow.dataset as ds  # costs 0.1 s and brings pandas in where it is installed

        with self._naming_file():
            fragment = ds.ParquetFileFormat().make_fragment(pa.BufferReader(self.footer))
            kept = fragment.subset(filter=selection.filter, schema=selection.stored).row_groups
        possible = {group.id for group in kept}
        return [group for group in groups if group in possible]

    @cached_property
    def group_spans(self) -> list[tuple[int, int]]:
        """First and last timestamp of each row group."""
        layout = self.layout
        names = [layout.schema.column(i).path for i in range(layout.num_columns)]
        if TIME not in names:
            raise self._damage("a file has no time column", names, TIME)
        column = names.index(TIME)
        spans = []
        for group in range(layout.num_row_groups):
            known = layout.row_group(group).column(column).statistics
            if known is None or not known.has_min_max:
                spans.append((self.start_ns or 0, self.end_ns or 0))
            else:
                spans.append((known.min, known.max))
        return spans

    def floor_ns(self, time_ns: int) -> int | None:
        """Return the greatest timestamp of the part at or before the given time, None if there is none."""
        if self.rows == 0 or self.start_ns is None or self.end_ns is None or self.start_ns > time_ns:
            return None
        if self.end_ns <= time_ns:
            return self.end_ns
        group = max(g for g, (first, _) in enumerate(self.group_spans) if first <= time_ns)
        if self.group_spans[group][1] <= time_ns:
            return self.group_spans[group][1]
        with self._open() as file:
            _, times = self._read_group(file, group, [TIME])
        return int(times[int(np.searchsorted(times, time_ns, "right")) - 1])

    # -- bytes ---------------------------------------------------------------------------------

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        layout = self.layout
        with self._naming_file():
            file = pq.ParquetFile(
                self.path, metadata=layout, page_checksum_verification=True, pre_buffer=False
            )
        with file:
            yield file

    def _read_group(self, file: pq.ParquetFile, group: int, names: list[str]) -> tuple[pa.Table, Times]:
        with self._naming_file():
            table = file.read_row_group(group, columns=names)
            missing = [n for n in names if n not in table.column_names]
            if missing:
                raise self._damage("a file lacks a column", table.column_names, missing[0])
            # pyarrow also returns columns whose dotted name merely begins with a wanted name.
            table = table.select(names)
            table.validate()
        expected = self.layout.row_group(group).num_rows
        if any(len(column) != expected for column in table.columns):
            raise self._damage(f"row group {group} is short", table.num_rows, expected)
        times: Times = table.column(TIME).to_numpy()
        if len(times) == 0 or bool((times[1:] < times[:-1]).any()):
            raise self._damage(f"row group {group} is not in time order", "a step back", "rising timestamps")
        return table, times

    def _as_declared(self, table: pa.Table, selection: Selection) -> pa.Table:
        wanted = pa.schema([selection.stored.field(n) for n in selection.read_names])
        if table.schema.equals(wanted):
            return table
        with self._naming_file():
            return table.cast(wanted)

    def _nan_columns(self, schema: pa.Schema) -> list[str]:
        """Return the columns that may hold NaN; of those inside structs and lists nothing is counted."""
        floats = [f.name for f in schema if _has_floats(f.type)]
        return [name for name in floats if self.stats.get(name, {}).get("nans", 1)]

    @contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowMemoryError:  # this machine is at fault, not the file
            raise
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise self._damage("a file cannot be read", str(error), "a sealed Parquet part") from error

    def _damage(self, message: str, found: object, expected: object) -> IntegrityError:
        return IntegrityError(
            f"{message}: {self.path}", topic=self.topic, found=found, expected=expected,
            next_step=_DERIVED_ADVICE if self.topic.startswith("features/") else None,
        )  # fmt: skip


def _has_floats(kind: pa.DataType) -> bool:
    """Tell whether there are floating-point numbers in a column of a type, at whatever depth."""
    if pa.types.is_dictionary(kind):
        return _has_floats(kind.value_type)
    if kind.num_fields:
        return any(_has_floats(kind.field(i).type) for i in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))
