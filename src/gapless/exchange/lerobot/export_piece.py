"""One piece of a dataset: a file of rows and a video file of each camera, for one episode or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.exchange.lerobot.dataset import FilePlace
from gapless.exchange.lerobot.export_pictures import units
from gapless.exchange.lerobot.export_rows import EpisodeRows
from gapless.exchange.lerobot.export_shape import CHUNK_FILES, DATA_PATH, VIDEO_PATH, DatasetShape
from gapless.exchange.lerobot.export_stats import counts_of, episode_stats, picture_stats
from gapless.model.picture_summary import PictureSummary
from gapless.store.episode_rows import FrameFlag
from gapless.store.media.remux import ConstantRateVideo
from gapless.store.platform import PLATFORM

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

ROWS_WITH_IMAGES = 64  # in one row group: what their PNG files take is held in memory


@dataclass(frozen=True)
class Position:
    """Where an episode begins in the dataset: its number, its first row, and the numbers of its tasks."""

    episode: int
    row: int
    tasks: Sequence[int]


class Piece:
    """Writes one piece; ``number`` counts them over the whole dataset. Use it as a context manager."""

    def __init__(self, root: Path, number: int, shape: DatasetShape) -> None:
        self.place = FilePlace(number // CHUNK_FILES, number % CHUNK_FILES)
        self.rows = 0
        self._root = root
        self._shape = shape
        self._opened = ExitStack()
        self.data_name = DATA_PATH.format(chunk_index=self.place.chunk, file_index=self.place.file)
        self.video_names = {
            key: VIDEO_PATH.format(video_key=key, chunk_index=self.place.chunk, file_index=self.place.file)
            for key in shape.videos
        }
        self._videos: dict[str, ConstantRateVideo] = {}
        self._data: pq.ParquetWriter

    def __enter__(self) -> Piece:
        self._data = self._opened.enter_context(
            pq.ParquetWriter(
                self._made(self.data_name),
                self._shape.schema,
                compression="snappy",
                version="2.6",
                write_page_checksum=True,
            )
        )
        for key, name in self.video_names.items():
            video = ConstantRateVideo(self._made(name), self._shape.fps)
            self._videos[key] = self._opened.enter_context(video)
        return self

    def __exit__(self, *exception: Any) -> None:
        self._opened.__exit__(*exception)
        if exception[0] is None:
            PLATFORM.sync_file(self._root / self.data_name)

    @property
    def size_bytes(self) -> tuple[int, int]:
        """What is in the file of rows, and in the longest video, so far."""
        rows = (self._root / self.data_name).stat().st_size
        return rows, max((video.size_bytes for video in self._videos.values()), default=0)

    def add(self, sequence: SequenceHandler, rows: EpisodeRows, position: Position) -> dict[str, Any]:
        """Write an episode; return what is known of it afterwards, as JSON values."""
        starts = dict.fromkeys(self._videos, self.rows)
        summaries = {key: PictureSummary() for key in rows.pictures}
        for key, video in self._videos.items():
            for unit in units(sequence, rows.pictures[key], summaries[key]):
                video.add(unit.data, keyframe=unit.keyframe)
        images = {key: units(sequence, rows.pictures[key], summaries[key]) for key in self._shape.images}
        numbers = self._numbers(rows, position)
        stats, unusable = episode_stats(numbers)
        size = ROWS_WITH_IMAGES if images else max(rows.count, 1)
        for first in range(0, rows.count, size):
            part = numbers.slice(first, size)
            self._data.write_table(_with_images(part, images, self._shape.schema), row_group_size=size)
        self.rows += rows.count
        for key, summary in summaries.items():
            stats[key] = picture_stats(summary, rows.count)
        return {
            "rows": rows.count,
            "recorded_rows": rows.recorded,
            "backfilled_rows": int(np.count_nonzero(rows.flags & FrameFlag.BACKFILLED)),
            "repeated_image_rows": int(np.count_nonzero(rows.flags & FrameFlag.REPEATED_IMAGE)),
            "unusable_values": unusable,
            "file": [self.place.chunk, self.place.file],
            "first_pictures": starts,
            "stats": stats,
            "counts": {key: counts_of(summary) for key, summary in summaries.items()},
        }

    def _made(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # what a killed export left; never a file that another dataset has too
        return path

    def _numbers(self, rows: EpisodeRows, position: Position) -> pa.Table:
        """Return the columns of an episode that are no images."""
        frame_index = np.arange(rows.count, dtype=np.int64)
        known: dict[str, npt.NDArray[Any]] = {
            "observation.state": rows.state,
            "action": rows.action,
            "frame_flags": rows.flags.astype(np.int64),
            "captured_ns": rows.captured_ns,
            "timestamp": (frame_index / self._shape.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(rows.count, position.episode, np.int64),
            "index": position.row + frame_index,
            "task_index": np.asarray(position.tasks, np.int64)[rows.task],
        }
        fields = [field for field in self._shape.schema if field.name not in self._shape.images]
        arrays = [_array(known[field.name], field.type) for field in fields]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _array(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, type=kind) if pa.types.is_fixed_size_list(kind) else flat


def _with_images(table: pa.Table, images: Mapping[str, Iterator[Any]], schema: pa.Schema) -> pa.Table:
    """Return the rows with the next pictures, in the order of the schema."""
    columns = []
    for field in schema:
        if field.name not in images:
            columns.append(table[field.name])
            continue
        files = [
            {"bytes": unit.data, "path": None}
            for _, unit in zip(range(table.num_rows), images[field.name], strict=False)
        ]
        columns.append(pa.chunked_array([pa.array(files, field.type)]))
    return pa.Table.from_arrays(columns, schema=schema)
