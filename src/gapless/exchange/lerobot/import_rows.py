"""The rows of one episode of a dataset as Arrow batches for its topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.exchange.lerobot.dataset import EpisodeEntry, LeRobotDatasetFiles
from gapless.exchange.lerobot.import_layout import Column, TableTopic
from gapless.store.episode_rows import FRAMES, TASKS
from gapless.store.media.frame_table import FRAME_TABLE

_Number = TypeVar("_Number", bound=np.generic)

_NS = 1_000_000_000
_OF_PICTURES = 2 | 4 | 16  # the bits that a camera's frame table has
_REPEATED = 16  # the bit that only a camera's frame table has


@dataclass(frozen=True)
class EpisodeRows:
    """One episode: its rows as they are in the dataset, and the times they get, int64 nanoseconds from 0."""

    table: pa.Table
    times_ns: npt.NDArray[np.int64]

    def frames(self, *, with_cameras: bool) -> pa.RecordBatch:
        """Return the rows of topic ``frames``."""
        flags = self.flags() & ~np.uint8(_REPEATED) if with_cameras else self.flags()
        columns = [
            np.arange(len(self.times_ns)),
            self.captured_ns(),
            flags,
            self._column("task_index", np.int32),
        ]
        return self._batch(FRAMES, [pa.array(column) for column in columns])

    def camera_frames(self) -> pa.RecordBatch:
        """Return the rows of a camera's frame table. A row's flags say of no camera that it was the one."""
        columns = [np.arange(len(self.times_ns)), self.captured_ns(), self.flags() & np.uint8(_OF_PICTURES)]
        return self._batch(FRAME_TABLE, [pa.array(column) for column in columns])

    def tasks(self, texts: Sequence[str]) -> pa.RecordBatch:
        """Return the rows of topic ``tasks``: those that the episode's rows have, at its begin."""
        used = np.unique(self._column("task_index", np.int32))
        stamps = np.full(len(used), self.times_ns[0] if len(self.times_ns) else 0, np.int64)
        arrays = [pa.array(stamps), pa.array(used), pa.array([texts[task] for task in used], pa.string())]
        return pa.RecordBatch.from_arrays(arrays, schema=_timed(TASKS))

    def of(self, table: TableTopic) -> pa.RecordBatch:
        """Return the rows of a topic of features."""
        schema = table.schema
        arrays = [
            _values(self.table[column.feature.key], column, kind)
            for column, kind in zip(table.columns, schema.types, strict=True)
        ]
        return self._batch(schema, arrays)

    def captured_ns(self) -> npt.NDArray[np.int64]:
        """Return when the rows were captured, where the dataset says; else their times."""
        has = "captured_ns" in self.table.column_names
        return self._column("captured_ns", np.int64) if has else self.times_ns

    def flags(self) -> npt.NDArray[np.uint8]:
        """Return the bits of ``frame_flags``, where the dataset has them; else 0."""
        if "frame_flags" in self.table.column_names:
            return self._column("frame_flags", np.uint8)
        return np.zeros(len(self.times_ns), np.uint8)

    def _column(self, name: str, kind: type[_Number]) -> npt.NDArray[_Number]:
        flat = _flat(self.table[name].combine_chunks())
        values: npt.NDArray[_Number] = flat.to_numpy(zero_copy_only=False).astype(kind)
        return values

    def _batch(self, schema: pa.Schema, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(self.times_ns), *arrays], schema=_timed(schema))


def read_rows(dataset: LeRobotDatasetFiles, entry: EpisodeEntry, table: pa.Table) -> EpisodeRows:
    """Return an episode's rows out of the table of its file."""
    first = pc.min(table["index"]).as_py()
    rows = table.slice(entry.from_index - first, entry.length)
    return EpisodeRows(rows, grid_ns(entry.length, dataset.fps))


def grid_ns(count: int, fps: int) -> npt.NDArray[np.int64]:
    """Return the times of rows at a constant rate, in whole nanoseconds from 0, rounded down."""
    return np.arange(count, dtype=np.int64) * _NS // fps


def _timed(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *schema])


def _values(chunks: pa.ChunkedArray, column: Column, kind: pa.DataType) -> pa.Array:
    """Return one column's values, their bits unchanged."""
    array = chunks.combine_chunks()
    if column.place is not None:
        return _flat(array)[column.place :: column.feature.width].cast(kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_flat(array).cast(kind.value_type), kind.list_size)
    return _flat(array).cast(kind)


def _flat(array: pa.Array) -> pa.Array:
    """Return the innermost values of nested lists."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    while pa.types.is_nested(array.type):
        array = array.flatten()
    return array
