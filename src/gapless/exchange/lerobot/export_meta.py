"""The files in ``meta/`` of a dataset: tasks, episode list, statistics, the manifest, and ``info.json`` last."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gapless._version import __version__
from gapless.exchange.lerobot.dataset import INFO, MANIFEST, STATS, TASK_TEXT, TASKS
from gapless.exchange.lerobot.export_entries import Entries
from gapless.exchange.lerobot.export_shape import (
    CHUNK_FILES,
    DATA_FILE_MB,
    DATA_PATH,
    VIDEO_FILE_MB,
    VIDEO_PATH,
    DatasetShape,
)
from gapless.exchange.lerobot.export_stats import (
    counted,
    counts_table,
    dataset_stats,
    number_columns,
    picture_stats,
)
from gapless.model.picture_summary import PictureSummary
from gapless.store.parquet import sha256_file
from gapless.store.platform import PLATFORM

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
COUNTS = "meta/gapless_pictures.parquet"
FORMAT = 1  # of meta/gapless.json
VERSION = "v3.0"


def write_meta(
    root: Path, entries: Entries, shape: DatasetShape, words: Mapping[str, Any], before: Path | None
) -> None:
    """Write all files in ``meta/``; ``words`` are those of the manifest beside episodes and files.

    ``before`` is the dataset that the entries were added to. When ``info.json`` is there, everything is there.
    """
    _write_parquet(root / TASKS, tasks_table(list(entries.tasks)))
    _write_parquet(root / EPISODES, _episode_list(entries, shape, before))
    pictures = _pictures(entries, before)
    _write_parquet(root / COUNTS, counts_table(pictures))
    stats = dataset_stats(root, data_files(entries.listed), shape.schema)
    stats |= {key: picture_stats(summary, entries.rows) for key, summary in pictures.items()}
    _write(root / STATS, _json(stats))
    files = {name: sha256_file(root / name) for name in (EPISODES, COUNTS, STATS, TASKS)}
    info = _json(_info(entries, shape))
    files[INFO] = hashlib.sha256(info).hexdigest()
    listed = [{k: v for k, v in entry.items() if k != "stats"} for entry in entries.listed]
    versions = {name: importlib.metadata.version(name) for name in ("av", "pyarrow")} if shape.cameras else {}
    manifest = {"format": FORMAT, **words, "shape": shape.words(), "episodes": listed, "files": files}
    _write(root / MANIFEST, _json(manifest | {"versions": {"gapless": __version__, **versions}}))
    _write(root / INFO, info)


def _pictures(entries: Entries, before: Path | None) -> dict[str, PictureSummary]:
    """Return the pictures of all episodes, in the order in which cameras were first counted."""
    summaries = {} if before is None else counted(pq.read_table(before / COUNTS))
    for key, summary in entries.pictures.items():
        if key in summaries:
            summaries[key].counts += summary.counts
        else:
            summaries[key] = summary
    return summaries


def tasks_table(texts: Sequence[str]) -> pa.Table:
    """Return the tasks with the text as the index of pandas, where loaders look for it."""
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    text = {"name": None, "field_name": TASK_TEXT, "pandas_type": "unicode", "numpy_type": "object"}
    names = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    words = {
        "index_columns": [TASK_TEXT],
        "column_indexes": [names | {"metadata": {"encoding": "UTF-8"}}],
        "columns": [column | {"metadata": None} for column in (number, text)],
        "pandas_version": "2.0.0",
    }
    numbers = pa.array(range(len(texts)), pa.int64())
    table = pa.table({"task_index": numbers, TASK_TEXT: pa.array(texts, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(words)})


def data_files(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the files of rows in order."""
    places = dict.fromkeys(tuple(entry["file"]) for entry in entries)
    return [DATA_PATH.format(chunk_index=chunk, file_index=file) for chunk, file in places]


def _episode_list(entries: Entries, shape: DatasetShape, before: Path | None) -> pa.Table:
    """Return one row for each episode; rows of episodes that were there before are copied."""
    schema = _list_schema(shape)
    kept = schema.empty_table() if before is None else pq.read_table(before / EPISODES)
    rows = []
    first = sum(entry["rows"] for entry in entries.listed[: entries.kept])
    for number, entry in enumerate(entries.added, entries.kept):
        rows.append(_listed(number, first, entry, shape.fps))
        first += entry["rows"]
    return pa.concat_tables([kept, pa.Table.from_pylist(rows, schema)])


def _listed(number: int, first: int, entry: Mapping[str, Any], fps: int) -> dict[str, Any]:
    chunk, file = entry["file"]
    row: dict[str, Any] = {
        "episode_index": number,
        "tasks": entry["tasks"],
        "length": entry["rows"],
        "data/chunk_index": chunk,
        "data/file_index": file,
        "dataset_from_index": first,
        "dataset_to_index": first + entry["rows"],
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    for key, start in entry["first_pictures"].items():
        row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"] = chunk, file
        row[f"videos/{key}/from_timestamp"] = start / fps  # of whole pictures: nothing adds up over episodes
        row[f"videos/{key}/to_timestamp"] = (start + entry["rows"]) / fps
    for key, figures in entry["stats"].items():
        row |= {f"stats/{key}/{stat}": value for stat, value in figures.items()}
    return row


def _list_schema(shape: DatasetShape) -> pa.Schema:
    whole = pa.int64()
    fields = {"episode_index": whole, "tasks": pa.list_(pa.string()), "length": whole}
    fields |= dict.fromkeys(
        ("data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index"), whole
    )
    for key in shape.videos:
        fields |= {f"videos/{key}/{name}": whole for name in ("chunk_index", "file_index")}
        fields |= {f"videos/{key}/{name}": pa.float64() for name in ("from_timestamp", "to_timestamp")}
    numbers, pictures = pa.list_(pa.float64()), pa.list_(pa.list_(pa.list_(pa.float64())))
    kinds = dict.fromkeys(number_columns(shape.schema), numbers)
    kinds |= {key: pictures for key, *_ in shape.cameras}
    for key, kind in kinds.items():
        fields |= {f"stats/{key}/{stat}": kind for stat in ("min", "max", "mean", "std")}
        fields[f"stats/{key}/count"] = pa.list_(whole)
        fields |= {f"stats/{key}/{stat}": kind for stat in ("q01", "q10", "q50", "q90", "q99")}
    fields |= {f"meta/episodes/{name}": whole for name in ("chunk_index", "file_index")}
    return pa.schema(list(fields.items()))


def _info(entries: Entries, shape: DatasetShape) -> dict[str, Any]:
    robots = {entry["robot_type"] for entry in entries.listed}
    return {
        "codebase_version": VERSION,
        "robot_type": robots.pop() if len(robots) == 1 else None,
        "total_episodes": len(entries),
        "total_frames": entries.rows,
        "total_tasks": len(entries.tasks),
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": shape.fps,
        "splits": {"train": f"0:{len(entries)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if shape.videos else None,
        "features": shape.features(),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=4, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PLATFORM.write_atomically(path, data)


def _write_parquet(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy", version="2.6", write_page_checksum=True)
    PLATFORM.sync_file(path)
