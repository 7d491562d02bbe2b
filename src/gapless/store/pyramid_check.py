"""Comparing a sealed topic's pyramid with its rows: a curve is drawn from buckets, and nobody sees the rows then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.store.pyramid import LEVELS, group_buckets

_MEAN_PRECISION = 1e-9  # sums depend on their order, which is not the same on all processors


def first_difference(
    pyramid: Path, parts: Sequence[Path], schema: pa.Schema, watch: Callable[[], None]
) -> tuple[int, int] | None:
    """Return number and first row of the row group whose buckets are not what its rows give, None for none.

    Holds one row group of the rows and of each level at a time. Raises what pyarrow does for files it cannot read.
    """
    with pq.ParquetFile(pyramid) as source:
        kept = [_Level(source, level) for level in LEVELS]
        row_start = number = 0
        for number, part in enumerate(parts):
            row_start = 0
            for table in _row_groups(part):
                watch()
                made = group_buckets(table, schema, number, row_start)  # one batch for each level, or none
                if made and not all(map(_Level.goes_on_with, kept, made)):
                    return number, row_start
                row_start += table.num_rows
        return (number, row_start) if any(level.take(1).num_rows for level in kept) else None


def _row_groups(part: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(part) as source:
        for group in range(source.num_row_groups):
            yield source.read_row_group(group)


class _Level:
    """One level's buckets in a pyramid file, in their order."""

    def __init__(self, source: pq.ParquetFile, level: int) -> None:
        self._level = level
        self._groups = self._read(source)
        self._held = source.schema_arrow.empty_table()

    def _read(self, source: pq.ParquetFile) -> Iterator[pa.Table]:
        column = source.schema_arrow.get_field_index("level")
        for group in range(source.num_row_groups):
            span = source.metadata.row_group(group).column(column).statistics
            if span is not None and span.has_min_max and not span.min <= self._level <= span.max:
                continue
            table = source.read_row_group(group)
            yield table.filter(pa.array(table["level"].to_numpy() == self._level))

    def goes_on_with(self, made: pa.RecordBatch) -> bool:
        """Tell whether the next buckets are these. Files of earlier releases have fewer columns."""
        found = self.take(made.num_rows)
        if found.num_rows != made.num_rows:
            return False
        return all(_same_column(found[name], made.column(name), name) for name in found.column_names)

    def take(self, count: int) -> pa.Table:
        """Return the next buckets, fewer at the end."""
        while len(self._held) < count and (more := next(self._groups, None)) is not None:
            self._held = pa.concat_tables([self._held, more])
        taken, self._held = self._held.slice(0, count), self._held.slice(count)
        return taken


def _same_column(kept: pa.ChunkedArray, made: pa.Array, name: str) -> bool:
    if not name.endswith(":mean"):
        return bool(kept.equals(pa.chunked_array([made])))
    if not kept.is_null().equals(pa.chunked_array([made.is_null()])):
        return False
    found, expected = kept.to_numpy(), made.to_numpy(zero_copy_only=False)
    return bool(np.allclose(found, expected, rtol=_MEAN_PRECISION, atol=0, equal_nan=True))
