"""A LeRobot dataset (v3.0) written by hand with pyarrow and PyAV, as another program would, and what is in it."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

HEIGHT, WIDTH = 48, 64
STATE = ("shoulder.pos", "elbow.pos", "gripper.pos")
TASKS = ("lift the cube", "put it down")
DATA, VIDEO = (
    "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
)
INDEX = "__index_level_0__"
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
Array = npt.NDArray[Any]


@dataclass
class Written:
    """What the dataset holds: for each episode its state and action, and the pictures before encoding."""

    path: Path
    lengths: tuple[int, ...]
    fps: int
    states: list[Array] = field(default_factory=list)
    actions: list[Array] = field(default_factory=list)
    pictures: dict[str, list[Array]] = field(default_factory=dict)


def write(
    path: Path,
    lengths: tuple[int, ...] = (12, 9, 15),
    *,
    fps: int = 30,
    cameras: tuple[str, ...] = ("front", "wrist"),
    images: tuple[str, ...] = (),
    compact: bool = False,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    keyed: bool = True,
    manifest: bool = False,
) -> Written:
    """Write a dataset.

    ``compact``: all episodes in one file; ``keyed``: each begins with a keyframe; ``manifest``: with the digests
    of an export.
    """
    made = Written(path, lengths, fps)
    random = np.random.default_rng(5)
    for length in lengths:
        made.states.append(random.normal(size=(length, len(STATE))).astype(np.float32))
        made.actions.append(random.normal(size=(length, len(STATE))).astype(np.float32))
    keys = [f"observation.images.{name}" for name in (*cameras, *images)]
    for place, key in enumerate(keys):
        made.pictures[key] = [draw(episode, place, n) for episode, n in enumerate(lengths)]
    videos, stills = keys[: len(cameras)], keys[len(cameras) :]
    _write_rows(made, stills, compact=compact)
    settings = options or {"g": "2", "crf": "18", "bf": "0", "preset": "ultrafast"}
    for key in videos:
        for number, part in enumerate(_files(made, compact=compact)):
            target = path / VIDEO.format(video_key=key, chunk_index=0, file_index=number)
            target.parent.mkdir(parents=True, exist_ok=True)
            starts = tuple(np.cumsum([0, *(lengths[e] for e in part[:-1])]).tolist())
            shown = np.concatenate([made.pictures[key][e] for e in part])
            encode(target, shown, fps, codec, settings, keyframes=starts if keyed else ())
    _write_meta(made, videos, stills, compact=compact)
    if manifest:
        write_manifest(made)
    _write_info(made, videos, stills)
    return made


def draw(episode: int, camera: int, count: int) -> Array:
    """Return pictures of which no two are alike: a bar that moves over a ground in the episode's colour."""
    made = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    made[:] = (40 + 70 * (episode % 3), 60 + 80 * camera, 200 - 60 * (episode % 3))
    for k in range(count):
        made[k, :, (4 * k) % (WIDTH - 8) : (4 * k) % (WIDTH - 8) + 8] = 255
        made[k, : 4 + k, :8] = 0
    return made


def encode(
    path: Path,
    pictures: Array,
    fps: int,
    codec: str,
    options: dict[str, str],
    keyframes: tuple[int, ...] = (),
) -> None:
    """Write one MP4 at a constant rate, with keyframes at these pictures at least."""
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for k, picture in enumerate(pictures):
            frame: Any = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            if k in keyframes:
                frame.pict_type = 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_manifest(made: Written) -> None:
    """Write the digests of all files that are there."""
    files = {
        file.relative_to(made.path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(made.path.rglob("*"))
        if file.is_file()
    }
    episodes = [
        {"sequence": f"s/episode-{k:06d}", "rows": n, "files": {}} for k, n in enumerate(made.lengths)
    ]
    text = json.dumps({"episodes": episodes, "files": files})
    (made.path / "meta/gapless.json").write_text(text)


def png(picture: Array) -> bytes:
    """Return a PNG file."""
    file = io.BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        stream: Any = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _files(made: Written, *, compact: bool) -> list[list[int]]:
    episodes = list(range(len(made.lengths)))
    return [episodes] if compact else [[episode] for episode in episodes]


def _write_rows(made: Written, stills: list[str], *, compact: bool) -> None:
    for number, part in enumerate(_files(made, compact=compact)):
        target = made.path / DATA.format(chunk_index=0, file_index=number)
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables([rows_of(made, episode, stills) for episode in part]), target)


def rows_of(made: Written, episode: int, stills: list[str]) -> pa.Table:
    """Return the rows of one episode."""
    length = made.lengths[episode]
    first = sum(made.lengths[:episode])
    count = np.arange(length)

    def vector(values: Array) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])

    columns: dict[str, Any] = {
        "observation.state": vector(made.states[episode]),
        "action": vector(made.actions[episode]),
        "timestamp": pa.array((count / made.fps).astype(np.float32)),
        "frame_index": pa.array(count),
        "episode_index": pa.array(np.full(length, episode)),
        "index": pa.array(first + count),
        "task_index": pa.array(np.full(length, episode % 2)),
    }
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for key in stills:
        values = [{"bytes": png(picture), "path": None} for picture in made.pictures[key][episode]]
        columns[key] = pa.array(values, kind)
    return pa.table(columns)


def figures(values: Array) -> dict[str, Any]:
    """Return the statistics of ``[rows, n]``, in float64."""
    exact = values.astype(np.float64)
    told = {
        "min": exact.min(0), "max": exact.max(0), "mean": exact.mean(0), "std": exact.std(0),
        "count": np.array([len(values)]),
        **{name: np.quantile(exact, share, axis=0) for name, share in QUANTILES.items()},
    }  # fmt: skip
    return {name: value.tolist() for name, value in told.items()}


def colours(pictures: Array) -> dict[str, Any]:
    """Return the statistics of pictures, each a list ``(3, 1, 1)`` of 0..1."""
    told = figures(pictures.reshape(-1, 3) / 255)
    shaped: dict[str, Any] = {name: [[[one]] for one in value] for name, value in told.items()}
    return shaped | {"count": [len(pictures)]}


def _write_meta(made: Written, videos: list[str], stills: list[str], *, compact: bool) -> None:
    meta = made.path / "meta"
    (meta / "episodes/chunk-000").mkdir(parents=True)
    tasks = pa.table({"task_index": pa.array([0, 1]), INDEX: pa.array(TASKS)})
    pandas = {
        "index_columns": [INDEX],
        "column_indexes": [
            {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
        ],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
            {"name": None, "field_name": INDEX, "pandas_type": "unicode", "numpy_type": "object"},
        ],
    }
    pq.write_table(tasks.replace_schema_metadata({"pandas": json.dumps(pandas)}), meta / "tasks.parquet")
    rows, first, start = [], 0, 0
    for episode, length in enumerate(made.lengths):
        number = 0 if compact else episode
        row: dict[str, Any] = {
            "episode_index": episode,
            "tasks": [TASKS[episode % 2]],
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": number,
            "dataset_from_index": first,
            "dataset_to_index": first + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for key in videos:
            row |= {
                f"videos/{key}/chunk_index": 0,
                f"videos/{key}/file_index": number,
                f"videos/{key}/from_timestamp": start / made.fps,
                f"videos/{key}/to_timestamp": (start + length) / made.fps,
            }
        numbers = {"observation.state": made.states[episode], "action": made.actions[episode]}
        told = {key: figures(values) for key, values in numbers.items()}
        told |= {key: colours(made.pictures[key][episode]) for key in (*videos, *stills)}
        row |= {f"stats/{key}/{name}": v for key, stats in told.items() for name, v in stats.items()}
        rows.append(row)
        first += length
        start += length if compact else 0
    pq.write_table(pa.Table.from_pylist(rows), meta / "episodes/chunk-000/file-000.parquet")
    everything = {
        "observation.state": figures(np.concatenate(made.states)),
        "action": figures(np.concatenate(made.actions)),
    }
    everything |= {key: colours(np.concatenate(made.pictures[key])) for key in (*videos, *stills)}
    (meta / "stats.json").write_text(json.dumps(everything))


def _write_info(made: Written, videos: list[str], stills: list[str]) -> None:
    features: dict[str, Any] = {
        key: {"dtype": "float32", "shape": [len(STATE)], "names": list(STATE)}
        for key in ("observation.state", "action")
    }
    features |= {
        key: {"dtype": dtype, "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
        for dtype, keys in (("video", videos), ("image", stills))
        for key in keys
    }
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for key in ("frame_index", "episode_index", "index", "task_index"):
        features[key] = {"dtype": "int64", "shape": [1], "names": None}
    info = {
        "codebase_version": "v3.0",
        "robot_type": "arm",
        "total_episodes": len(made.lengths),
        "total_frames": sum(made.lengths),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": made.fps,
        "splits": {"train": f"0:{len(made.lengths)}"},
        "data_path": DATA,
        "video_path": VIDEO,
        "features": features,
    }
    (made.path / "meta/info.json").write_text(json.dumps(info, indent=4))
