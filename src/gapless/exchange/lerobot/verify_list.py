"""The lists of a dataset: totals, tasks, episodes and their rows, and what the export told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gapless.errors import IntegrityError, NotFound
from gapless.exchange.lerobot.dataset import (
    INFO,
    MANIFEST,
    TASK_TEXT,
    TASKS,
    EpisodeEntry,
    LeRobotDatasetFiles,
)
from gapless.exchange.lerobot.findings import error
from gapless.store.verify import Finding

_LIST = "meta/episodes"


def check_list(dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry]) -> Iterator[Finding]:
    """Compare the episode list with itself and with the totals."""
    found = [entry.index for entry in entries]
    if found != list(range(len(entries))):
        place = next(i for i, index in enumerate(found) if index != i)
        yield error("L009", f"row {place} is episode {found[place]}", _LIST)
    position = 0
    for entry in entries:
        if entry.to_index - entry.from_index != entry.length or entry.from_index != position:
            words = f"rows {entry.from_index} to {entry.to_index}, length {entry.length}, expected from {position}"
            yield error("L010", f"episode {entry.index}: {words}", _LIST)
        position = entry.to_index
    yield from _totals(dataset, len(entries))


def _totals(dataset: LeRobotDatasetFiles, episodes: int) -> Iterator[Finding]:
    known = {"total_episodes": episodes, "total_frames": _rows(dataset), "total_tasks": _task_rows(dataset)}
    for name, value in known.items():
        if value is not None and dataset.info.get(name) != value:
            yield error("L007", f"{name} is {dataset.info.get(name)!r}, the files hold {value}", INFO)
    splits = dataset.info.get("splits") or {}
    if set(splits) == {"train"} and splits["train"] != f"0:{episodes}":
        yield error("L007", f"the split is {splits['train']!r}, there are {episodes} episodes", INFO)


def _rows(dataset: LeRobotDatasetFiles) -> int | None:
    """Return the number of rows in all files; None if one of them cannot be opened, which is told elsewhere."""
    rows = 0
    try:
        for name in dataset.data_files():
            with dataset.parquet(name) as file:
                rows += file.metadata.num_rows
    except IntegrityError:
        return None
    return rows


def _task_rows(dataset: LeRobotDatasetFiles) -> int | None:
    try:
        return int(dataset.tasks().num_rows)
    except (IntegrityError, NotFound):
        return None


def check_tasks(dataset: LeRobotDatasetFiles) -> Iterator[Finding]:
    """Tell whether loaders, which count rows and look for the text in pandas' index, get each task's text."""
    table = dataset.tasks()
    numbers = table["task_index"].to_pylist()
    if numbers != list(range(len(numbers))):
        yield error("L008", f"the rows are tasks {numbers[:10]}", TASKS)
    try:
        pandas = json.loads((table.schema.metadata or {}).get(b"pandas", b"{}"))
        indexes = [name for name in pandas.get("index_columns", ()) if isinstance(name, str)]
        described = {column["field_name"] for column in pandas.get("columns", ())}
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        yield error("L008", f"what pandas needs to know cannot be read: {problem}", TASKS)
        return
    if not {TASK_TEXT, "task"}.intersection(indexes):
        yield error("L008", "the text is not the index of pandas: loaders give a number as the task", TASKS)
    elif not described.issuperset(indexes):
        yield error("L008", "pandas' metadata does not describe its index: loaders fail", TASKS)


def check_manifest(manifest: Mapping[str, Any], entries: Sequence[EpisodeEntry]) -> Iterator[Finding]:
    """Compare what the export told of its episodes with the episode list."""
    told = manifest.get("episodes")
    if not isinstance(told, list):
        yield error("L024", "it has no list of episodes", MANIFEST)
        return
    rows = [episode.get("rows") for episode in told]
    if rows != [entry.length for entry in entries]:
        yield error("L024", f"it tells of {len(told)} episodes, or of other lengths than {_LIST}", MANIFEST)
