"""The rows of one episode of a dataset as Arrow batches for its topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.exchange.lerobot.dataset import EpisodeEntry, Feature, LeRobotDatasetFiles
from gapless.exchange.lerobot.import_layout import FRAME_FEATURES, Column, TableTopic
from gapless.store.episode_rows import FRAMES, TASKS
from gapless.store.media.frame_table import FRAME_TABLE

_Number = TypeVar("_Number", bound=np.generic)

_NS = 1_000_000_000
_OF_PICTURES = 2 | 4 | 16  # the bits that a camera's frame table has
_REPEATED = 16  # the bit that only a camera's frame table has
_RANGES = {"frame_flags": (0, 31), "captured_ns": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True)
class EpisodeRows:
    """One episode: its rows as they are in the dataset, and the times they get, int64 nanoseconds from 0.

    ``in_frames``: the features that topic ``frames`` takes.
    """

    table: pa.Table
    times_ns: npt.NDArray[np.int64]
    in_frames: frozenset[str]

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
        return self._column("captured_ns", np.int64) if "captured_ns" in self.in_frames else self.times_ns

    def flags(self) -> npt.NDArray[np.uint8]:
        """Return the bits of ``frame_flags``, where the dataset has them; else 0."""
        if "frame_flags" in self.in_frames:
            return self._column("frame_flags", np.uint8)
        return np.zeros(len(self.times_ns), np.uint8)

    def _column(self, name: str, kind: type[_Number]) -> npt.NDArray[_Number]:
        flat = _flat(self.table[name].combine_chunks())
        values: npt.NDArray[_Number] = flat.to_numpy(zero_copy_only=False).astype(kind)
        return values

    def _batch(self, schema: pa.Schema, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(self.times_ns), *arrays], schema=_timed(schema))


def features_of_frames(dataset: LeRobotDatasetFiles) -> frozenset[str]:
    """Return which of FRAME_FEATURES topic ``frames`` can take without changing a value.

    Another program may have given these names to something else.
    """
    return frozenset(
        key
        for key in FRAME_FEATURES
        if key in dataset.features and _is_of_frames(dataset, dataset.features[key])
    )


def _is_of_frames(dataset: LeRobotDatasetFiles, feature: Feature) -> bool:
    if not feature.dtype.startswith(("int", "uint")) or feature.shape not in ((), (1,)):
        return False
    low, high = _RANGES[feature.key]
    for name in dataset.data_files():
        values = _flat(dataset.read(name, [feature.key])[feature.key].combine_chunks())
        found = pc.min_max(values).as_py()
        if values.null_count or (len(values) and not low <= found["min"] <= found["max"] <= high):
            return False
    return True


def read_rows(
    dataset: LeRobotDatasetFiles, entry: EpisodeEntry, table: pa.Table, in_frames: frozenset[str]
) -> EpisodeRows:
    """Return an episode's rows out of the table of its file."""
    first = pc.min(table["index"]).as_py()
    rows = table.slice(entry.from_index - first, entry.length)
    return EpisodeRows(rows, grid_ns(entry.length, dataset.fps), in_frames)


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
