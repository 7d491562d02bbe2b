"""One Parquet part while it is being written: row groups in, a synced file with digests out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.store import parquet
from gapless.store.bucket_file import BucketWriter
from gapless.store.declaration import SEQ, TIME, TopicDeclaration
from gapless.store.layout import Bundle, part_name
from gapless.store.platform import Platform
from gapless.store.pyramid import group_buckets, pyramid_schema, reductions
from gapless.store.statistics import STATS_KEY, PartStatistics, encode


class PartWriter:
    """Writes ``part-N.parquet.partial``; :meth:`finish` makes it a part.

    Row groups come in arrival order, each already sorted. When they turn out not to follow each other in
    time, the part is written again in order at the end, one row group in memory at a time.
    """

    def __init__(
        self, bundle: Bundle, declaration: TopicDeclaration, number: int, platform: Platform
    ) -> None:
        self.bundle = bundle
        self.declaration = declaration
        self.number = number
        self.platform = platform
        self.path = bundle.topic(declaration.name) / part_name(number)
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self.rows = 0
        self.groups = 0
        self.value_bytes = 0
        self._stats = PartStatistics(declaration.stored_schema)
        self._group_rows: list[int] = []
        self._last_key: tuple[int, int] | None = None
        self._in_order = True
        self._span: tuple[int, int] | None = None
        self._make_folder()
        self.partial.unlink(missing_ok=True)  # an owner before may have its file still open
        self._writer = parquet.open_writer(self.partial, declaration.stored_schema)
        self._buckets = self._new_buckets()

    def _make_folder(self) -> None:
        """Make the topic's folder with every new directory entry durable."""
        folder = self.partial.parent
        if folder.exists():
            return
        folder.mkdir(parents=True)
        self.platform.sync_directory(folder.parent)
        self.platform.sync_directory(self.bundle.path)

    def add(self, table: pa.Table, value_bytes: int) -> None:
        """Write one sorted row group."""
        times, seqs = table.column(TIME), table.column(SEQ)
        first = (times[0].as_py(), seqs[0].as_py())
        last = (times[-1].as_py(), seqs[-1].as_py())
        if self._last_key is not None and first < self._last_key:
            self._in_order = False
        self._last_key = last if self._last_key is None else max(last, self._last_key)
        self._span = (
            (min(first[0], self._span[0]), max(last[0], self._span[1])) if self._span else (first[0], last[0])
        )
        schema = self.declaration.schema
        fields = reductions(table, schema)
        self._stats.add(table, fields)
        if self._in_order:
            self._buckets.add(group_buckets(table, schema, self.number, self.rows, fields))
        self._writer.write_table(table, row_group_size=table.num_rows)
        self.rows += table.num_rows
        self.groups += 1
        self.value_bytes += value_bytes
        self._group_rows.append(table.num_rows)

    def finish(self) -> dict[str, Any]:
        """Return the manifest entry of the part, which is durable under its final name."""
        self._close()
        if not self._in_order:
            self._reorder()
        self.platform.sync_file(self.partial)
        entry = {
            "path": self.path.relative_to(self.bundle.path).as_posix(),
            "rows": self.rows,
            **parquet.file_digests(self.partial),
            "start_ns": self._span[0] if self._span else None,
            "end_ns": self._span[1] if self._span else None,
        }
        self._buckets.close()
        self.platform.replace(self.partial, self.path)
        self.platform.sync_directory(self.path.parent)
        return entry

    def abandon(self) -> None:
        """Close and delete the unfinished file."""
        self._writer.close()
        self._buckets.close()
        if self.partial.exists():  # an error at the end of the part may have come behind its rename
            self.platform.remove(self.partial)

    def _close(self) -> None:
        self._writer.add_key_value_metadata({STATS_KEY.decode(): encode(self._stats.to_json())})
        self._writer.close()

    def _new_buckets(self) -> BucketWriter:
        path = self.bundle.journal_pyramid(self.declaration.name, self.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # as the part's: its owner before may write on
        return BucketWriter(path, pyramid_schema(self.declaration.schema))

    def _reorder(self) -> None:
        """Write the part again with its rows in order of (time, seq), row groups as large as before."""
        source = pq.ParquetFile(self.partial)
        keys = source.read(columns=[TIME, SEQ])
        order = np.lexsort((keys.column(SEQ).to_numpy(), keys.column(TIME).to_numpy()))
        del keys
        sorted_path = self.partial.with_name(f"{self.path.name}.sorted.partial")
        self._writer = parquet.open_writer(sorted_path, self.declaration.stored_schema)
        self._buckets.close()
        self._buckets = self._new_buckets()
        starts = np.concatenate(([0], np.cumsum(self._group_rows)))
        row_start = 0
        for rows in self._group_rows:
            table = _gather(source, order[row_start : row_start + rows], starts)
            self._buckets.add(group_buckets(table, self.declaration.schema, self.number, row_start))
            self._writer.write_table(table, row_group_size=table.num_rows)
            row_start += rows
        self._close()
        source.close()
        self.platform.replace(sorted_path, self.partial)


def _gather(source: pq.ParquetFile, wanted: np.ndarray[Any, Any], starts: np.ndarray[Any, Any]) -> pa.Table:
    """Return the wanted rows in their order, reading only the row groups that hold them, one at a time."""
    group_of = np.searchsorted(starts, wanted, side="right") - 1
    pieces, places = [], []
    for group in np.unique(group_of):
        here = np.flatnonzero(group_of == group)
        pieces.append(source.read_row_group(int(group)).take(pa.array(wanted[here] - starts[group])))
        places.append(here)
    back = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(pieces).take(pa.array(back)).combine_chunks()
