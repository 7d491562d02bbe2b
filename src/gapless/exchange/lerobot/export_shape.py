"""What all episodes of a dataset have in common: rate, columns, cameras; and how LeRobot is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa

from gapless.errors import ExportRefused
from gapless.exchange.lerobot.export_options import ExportOptions, whole_fps
from gapless.exchange.lerobot.export_source import Source

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
CHUNK_FILES = 1000
DATA_FILE_MB = 100
VIDEO_FILE_MB = 200
VIDEO_FILE_S = (
    1000  # loaders compare seconds as float32, whose steps above 1,024 s are more than they tolerate
)

_PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_COUNTED = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class DatasetShape:
    """Rate, names of the vectors' numbers, and for each camera ``(key, kind, height, width, channels)``."""

    fps: int
    state: tuple[str, ...]
    action: tuple[str, ...]
    cameras: tuple[tuple[str, str, int, int, int], ...]

    @classmethod
    def of(cls, source: Source, options: ExportOptions) -> DatasetShape:
        """Return the shape of a sequence; raises ExportRefused without a whole rate."""
        name = source.sequence.name
        rate = source.data_hz if options.fps is None else Fraction(options.fps)
        if rate is None:
            raise ExportRefused(
                "the sequence is no observed episode and has no rate of its own",
                sequence=name,
                next_step="name one: fps=30 (--fps 30)",
            )
        return cls(
            whole_fps(rate, name),
            tuple(n for column in source.state for n in column.names),
            tuple(n for column in source.action for n in column.names),
            tuple(
                (c.key, "video" if c.video else "image", c.height, c.width, c.channels)
                for c in source.cameras
            ),
        )

    @classmethod
    def from_words(cls, words: dict[str, Any]) -> DatasetShape:
        """Return the shape that :meth:`words` told of."""
        cameras = tuple(tuple(camera) for camera in words["cameras"])
        return cls(words["fps"], tuple(words["state"]), tuple(words["action"]), cameras)

    def words(self) -> dict[str, Any]:
        """Return the shape as JSON values."""
        cameras = [list(camera) for camera in self.cameras]
        return {"fps": self.fps, "state": list(self.state), "action": list(self.action), "cameras": cameras}

    @property
    def videos(self) -> list[str]:
        """The keys of the cameras with video files."""
        return [key for key, kind, *_ in self.cameras if kind == "video"]

    @property
    def images(self) -> list[str]:
        """The keys of the cameras whose pictures are in the rows."""
        return [key for key, kind, *_ in self.cameras if kind == "image"]

    @property
    def schema(self) -> pa.Schema:
        """The columns of the files of rows."""
        fields = [pa.field(key, _vector(len(names))) for key, names in self._vectors().items()]
        fields += [pa.field("frame_flags", pa.int64()), pa.field("captured_ns", pa.int64())]
        fields += [pa.field(key, _PNG) for key in self.images]
        fields.append(pa.field("timestamp", pa.float32()))
        return pa.schema([*fields, *(pa.field(name, pa.int64()) for name in _COUNTED)])

    def features(self) -> dict[str, Any]:
        """Return the features as ``meta/info.json`` has them."""
        told: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [len(names)], "names": list(names)}
            for key, names in self._vectors().items()
        }
        for key in ("frame_flags", "captured_ns"):
            told[key] = {"dtype": "int64", "shape": [1], "names": None}
        for key, kind, height, width, channels in self.cameras:
            told[key] = {
                "dtype": kind,
                "shape": [height, width, channels],
                "names": ["height", "width", "channels"],
            }
            if kind == "video":
                told[key]["info"] = self._video_info(height, width)
        told["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        return told | {key: {"dtype": "int64", "shape": [1], "names": None} for key in _COUNTED}

    def check_same(self, other: DatasetShape, sequence: str, first: str) -> None:
        """Return if another sequence has this shape, else raise ExportRefused naming the first difference."""
        mine, its = self.words(), other.words()
        for part in mine:
            if mine[part] != its[part]:
                found, expected = _difference(its[part], mine[part])
                raise ExportRefused(
                    f"the episodes of a dataset must be alike, and their {part} differ",
                    sequence=sequence,
                    found=found,
                    expected=f"{expected} as in {first}",
                    next_step="choose what they have in common (--state, --action, --camera, --fps),"
                    " or leave sequences out (--skip)",
                )

    def _vectors(self) -> dict[str, tuple[str, ...]]:
        vectors = {"observation.state": self.state, "action": self.action}
        return {key: names for key, names in vectors.items() if names}

    def _video_info(self, height: int, width: int) -> dict[str, Any]:
        return {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": self.fps,
            "video.channels": 3,
            "has_audio": False,
        }


def _vector(size: int) -> pa.DataType:
    return pa.float32() if size == 1 else pa.list_(pa.float32(), size)


def _difference(found: Any, expected: Any) -> tuple[Any, Any]:
    """Return the first elements that differ, or the lengths."""
    if not isinstance(found, list):
        return found, expected
    for one, other in zip(found, expected, strict=False):
        if one != other:
            return one, other
    return len(found), len(expected)
