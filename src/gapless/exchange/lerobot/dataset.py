"""The files of a LeRobot dataset (v3.0), read as they are: what they say, not yet whether it is true.

Whoever reads a file that is missing or cut gets NotFound or IntegrityError naming it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from gapless.errors import FormatUnknown, ImportRefused, IntegrityError, NotFound

INFO = "meta/info.json"
TASKS = "meta/tasks.parquet"
STATS = "meta/stats.json"
MANIFEST = "meta/gapless.json"
TASK_TEXT = "__index_level_0__"  # the name that pandas gives the unnamed index, where LeRobot keeps the text
ROW_FEATURES = ("timestamp", "frame_index", "episode_index", "index", "task_index")
_CONVERTER = "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=NAME"


class FilePlace(NamedTuple):
    """Which of the numbered files: ``chunk-CHUNK/file-FILE``."""

    chunk: int
    file: int


class VideoSpan(NamedTuple):
    """Where an episode's pictures are: the file, and seconds within it."""

    place: FilePlace
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Feature:
    """One column of the dataset, or one camera. ``names``: of the elements of a vector, if it has any."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None

    @property
    def is_video(self) -> bool:
        """Its pictures are in video files and not in the rows."""
        return self.dtype == "video"

    @property
    def is_image(self) -> bool:
        """Its pictures are files in the rows."""
        return self.dtype == "image"

    @property
    def is_number(self) -> bool:
        """Its values are numbers or bools."""
        return self.dtype not in ("video", "image", "string")

    @property
    def width(self) -> int:
        """How many numbers one row of a vector has."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True)
class EpisodeEntry:
    """What the episode list says of one episode. Rows are ``[from_index, to_index)``."""

    index: int
    tasks: tuple[str, ...]
    length: int
    data: FilePlace
    from_index: int
    to_index: int
    videos: Mapping[str, VideoSpan] = field(default_factory=dict)
    stats: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class LeRobotDatasetFiles:
    """A dataset folder. Everything but ``info`` is read when it is asked for.

    Raises NotFound where there is no ``meta/info.json``, IntegrityError for one that cannot be read (FormatUnknown
    for a later version), and ImportRefused for a version before 3.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.info = self._json(INFO)
        _check_version(path, str(self.info.get("codebase_version")))
        try:
            self.fps = int(self.info["fps"])
            self.features = {key: _feature(key, words) for key, words in self.info["features"].items()}
            self._data_path, self._video_path = self.info["data_path"], self.info.get("video_path")
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise IntegrityError(
                f"{INFO} does not say what a reader needs",
                found=f"{type(error).__name__}: {error}",
                expected="fps, features with dtype and shape, data_path",
            ) from error
        if self.fps <= 0 or self.fps != self.info["fps"]:
            raise IntegrityError(
                f"{INFO} names no whole number of rows per second", found=repr(self.info["fps"])
            )
        self.data_file(FilePlace(0, 0))
        for camera in self.cameras[:1]:
            self.video_file(camera.key, FilePlace(0, 0))

    @property
    def cameras(self) -> list[Feature]:
        """The features whose pictures are in video files."""
        return [feature for feature in self.features.values() if feature.is_video]

    @property
    def columns(self) -> list[Feature]:
        """The features that are columns of the rows."""
        return [feature for feature in self.features.values() if not feature.is_video]

    def data_file(self, place: FilePlace) -> str:
        """Return the relative path of a file of rows."""
        return self._formatted(self._data_path, place)

    def video_file(self, key: str, place: FilePlace) -> str:
        """Return the relative path of a camera's video file."""
        return self._formatted(self._video_path, place, video_key=key)

    def tasks(self) -> pa.Table:
        """Return the tasks: ``task_index`` and the text in the column that pandas keeps as its index."""
        return self._table(TASKS)

    def task_texts(self) -> list[str]:
        """Return the text of each task, by its number."""
        table = self.tasks()
        column = TASK_TEXT if TASK_TEXT in table.column_names else "task"
        if column not in table.column_names or "task_index" not in table.column_names:
            raise IntegrityError(f"{TASKS} lacks a column", found=", ".join(table.column_names))
        return [str(text) for text in table[column].to_pylist()]

    def episodes(self) -> list[EpisodeEntry]:
        """Return the episode list in the order of its files and rows; NotFound without any file."""
        names = self.episode_files()
        if not names:
            raise NotFound("meta/episodes holds no file", found=str(self.path))
        return [entry for name in names for entry in self._episodes(name)]

    def episode_files(self) -> list[str]:
        """Return the relative paths of the episode list's files, in order."""
        return self._globbed("meta/episodes")

    def data_files(self) -> list[str]:
        """Return the relative paths of the files of rows in the order in which loaders join them."""
        return self._globbed(self._data_path.split("/", 1)[0])

    def stats(self) -> dict[str, dict[str, Any]] | None:
        """Return the statistics by feature, None where the dataset has none."""
        return self._json(STATS) if (self.path / STATS).exists() else None

    def manifest(self) -> dict[str, Any] | None:
        """Return what the export of gapless wrote beside, None for datasets of others."""
        return self._json(MANIFEST) if (self.path / MANIFEST).exists() else None

    def parquet(self, name: str) -> pq.ParquetFile:
        """Open one Parquet file."""
        path = self._existing(name)
        try:
            return pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise IntegrityError(f"{name} cannot be read", found=str(error)) from error

    def read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Return a Parquet file's rows with plain Arrow types, its page checksums compared."""
        return self._table(name, columns)

    # -- reading -------------------------------------------------------------------------------

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise NotFound(f"{name} is missing in the dataset", found=str(self.path))
        return path

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self._existing(name).read_bytes())
        except ValueError as error:
            raise IntegrityError(f"{name} is no JSON", found=str(error)) from error
        if not isinstance(value, dict):
            raise IntegrityError(f"{name} is no JSON object", found=type(value).__name__)
        return value

    def _table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        with self.parquet(name) as file:
            try:
                return file.read(columns=columns)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise IntegrityError(f"{name} cannot be read", found=str(error)) from error

    def _globbed(self, folder: str) -> list[str]:
        return sorted(p.relative_to(self.path).as_posix() for p in self.path.glob(f"{folder}/*/*.parquet"))

    def _formatted(self, template: Any, place: FilePlace, **words: str) -> str:
        try:
            return str(template.format(chunk_index=place.chunk, file_index=place.file, **words))
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            raise IntegrityError(f"{INFO} has no usable path template", found=repr(template)) from error

    def _episodes(self, name: str) -> Iterator[EpisodeEntry]:
        keys = [camera.key for camera in self.cameras]
        for row in self._table(name).to_pylist():
            try:
                yield _entry(row, keys)
            except (KeyError, TypeError, ValueError) as error:
                raise IntegrityError(
                    f"{name} lacks what an episode needs", found=f"{type(error).__name__}: {error}"
                ) from error


def _check_version(path: Path, version: str) -> None:
    if version.startswith(("v1.", "v2.")):
        raise ImportRefused(
            "the dataset has an older version of the format",
            found=f"{path.name}: {version}",
            expected="v3.0",
            next_step=f"convert it with LeRobot first: {_CONVERTER}",
        )
    if not version.startswith("v3."):
        raise FormatUnknown(
            "the dataset has a version that this release cannot read", found=version, expected="v3.0"
        )


def image_bytes(cell: Any) -> bytes | None:
    """Return the file in a cell of an image feature, None where there is only a path or nothing."""
    data = cell.get("bytes") if isinstance(cell, Mapping) else cell
    return data if isinstance(data, bytes) else None


def _entry(row: Mapping[str, Any], video_keys: list[str]) -> EpisodeEntry:
    stats: dict[str, dict[str, Any]] = {}
    for column, value in row.items():
        if column.startswith("stats/") and value is not None:
            feature, stat = column.removeprefix("stats/").rsplit("/", 1)
            stats.setdefault(feature, {})[stat] = value
    return EpisodeEntry(
        int(row["episode_index"]),
        tuple(row["tasks"]),
        int(row["length"]),
        FilePlace(int(row["data/chunk_index"]), int(row["data/file_index"])),
        int(row["dataset_from_index"]),
        int(row["dataset_to_index"]),
        {key: _span(row, f"videos/{key}") for key in video_keys},
        stats,
    )


def _span(row: Mapping[str, Any], prefix: str) -> VideoSpan:
    place = FilePlace(int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"]))
    return VideoSpan(place, float(row[f"{prefix}/from_timestamp"]), float(row[f"{prefix}/to_timestamp"]))


def _feature(key: str, words: Mapping[str, Any]) -> Feature:
    names = words.get("names")
    if isinstance(names, Mapping):  # older datasets: {"motors": [...]}
        names = next(iter(names.values()), None)
    listed = tuple(str(name) for name in names) if isinstance(names, list) else None
    return Feature(key, str(words["dtype"]), tuple(int(size) for size in words["shape"]), listed)
