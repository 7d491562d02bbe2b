"""The rows of a dataset: each episode's where the list says, counted, timed and with its tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.errors import IntegrityError
from gapless.exchange.lerobot.dataset import ROW_FEATURES, EpisodeEntry, Feature, LeRobotDatasetFiles
from gapless.exchange.lerobot.findings import error
from gapless.store.verify import Finding

TOLERANCE_S = 1e-4  # what loaders allow between a row's time and its picture's
_ARROW = {"bool": "bool", "float32": "float", "float64": "double", "float16": "halffloat"}


def check_rows(
    dataset: LeRobotDatasetFiles, entries: Sequence[EpisodeEntry], texts: Sequence[str] | None
) -> Iterator[Finding]:
    """Compare every row's numbers with the episode list, file by file in the order in which loaders join them.

    ``texts``: of the tasks by number; None if they cannot be read, which is told elsewhere.
    """
    position = 0
    for name in dataset.data_files():
        try:
            with dataset.parquet(name) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
            wrong = list(_columns(dataset.columns, schema, name))
            yield from wrong
            if not wrong:
                table = dataset.read(name)  # all of it: what cannot be decoded is found here
                numbers = {key: table[key].to_numpy() for key in ROW_FEATURES}
                inside = [entry for entry in entries if dataset.data_file(entry.data) == name]
                part = _File(name, position, rows, numbers)
                yield from _indexes(part, inside)
                for entry in inside:
                    yield from _episode(part, entry, dataset.fps, texts)
        except IntegrityError as problem:
            yield error("L003", str(problem), name)
            return  # which rows the files after it hold cannot be told
        position += rows


@dataclass(frozen=True)
class _File:
    """One file: the index of its first row, and its columns of numbers."""

    name: str
    position: int
    rows: int
    numbers: dict[str, npt.NDArray[Any]]


def _columns(features: Sequence[Feature], schema: pa.Schema, name: str) -> Iterator[Finding]:
    for key in ROW_FEATURES:
        if all(feature.key != key for feature in features):
            yield error("L015", f"meta/info.json has no feature {key!r}")
    for feature in features:
        if feature.key not in schema.names:
            yield error("L015", f"there is no column {feature.key!r}", name)
        elif not _fits(feature, schema.field(feature.key).type):
            kind = schema.field(feature.key).type
            yield error("L015", f"{feature.key!r} is {kind}, not {feature.dtype} {list(feature.shape)}", name)


def _fits(feature: Feature, kind: pa.DataType) -> bool:
    if feature.is_image:
        return bool(pa.types.is_struct(kind) or pa.types.is_binary(kind))
    if feature.dtype == "string":
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    for size in () if feature.shape in ((), (1,)) else feature.shape:
        if pa.types.is_fixed_size_list(kind) and kind.list_size != size:
            return False
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            return False
        kind = kind.value_type
    return str(kind) == _ARROW.get(feature.dtype, feature.dtype)


def _indexes(part: _File, inside: Sequence[EpisodeEntry]) -> Iterator[Finding]:
    wrong = _first_difference(part.numbers["index"], np.arange(part.position, part.position + part.rows))
    if wrong is not None:
        found = part.numbers["index"][wrong]
        words = f"row {wrong} has index {found}, its place is {part.position + wrong}"
        yield error("L011", words, part.name, (wrong, wrong))
    listed = sum(entry.length for entry in inside)
    if listed != part.rows:
        yield error("L010", f"the file holds {part.rows} rows, its episodes have {listed}", part.name)


def _episode(part: _File, entry: EpisodeEntry, fps: int, texts: Sequence[str] | None) -> Iterator[Finding]:
    first, last = entry.from_index - part.position, entry.to_index - part.position
    where = f"episode {entry.index}"
    if not 0 <= first <= last <= part.rows:
        yield error(
            "L010", f"{where}: its rows {entry.from_index} to {entry.to_index} are elsewhere", part.name
        )
        return
    number = {key: column[first:last] for key, column in part.numbers.items()}
    count = np.arange(last - first)
    other = _first_difference(number["episode_index"], np.full(len(count), entry.index))
    if other is not None:
        words = f"{where}: row {first + other} is of episode {number['episode_index'][other]}"
        yield error("L010", words, part.name, (first + other, last - 1))
    wrong = _first_difference(number["frame_index"], count)
    if wrong is not None:
        words = f"{where}: row {wrong} has frame_index {number['frame_index'][wrong]}"
        yield error("L012", words, part.name, (first + wrong, last - 1))
    off_s = np.abs(number["timestamp"].astype(np.float64) - (count / fps).astype(np.float32))
    late = _first_difference(off_s < TOLERANCE_S, np.full(len(count), True))  # noqa: FBT003 (a filled array)
    if late is not None:
        words = (
            f"{where}: row {late} is at {number['timestamp'][late]} s, frame_index / fps is {late / fps} s"
        )
        yield error("L013", words, part.name, (first + late, last - 1))
    if texts is not None:
        yield from _tasks(part, entry, number["task_index"], texts)


def _tasks(
    part: _File, entry: EpisodeEntry, tasks: npt.NDArray[Any], texts: Sequence[str]
) -> Iterator[Finding]:
    used = np.unique(tasks).tolist()
    unknown = [task for task in used if not 0 <= task < len(texts)]
    if unknown:
        words = f"episode {entry.index}: task {unknown[0]}, there are {len(texts)}"
        yield error("L014", words, part.name)
    elif {texts[task] for task in used} != set(entry.tasks):
        words = f"episode {entry.index}: its rows have {[texts[task] for task in used]}, the list {list(entry.tasks)}"
        yield error("L014", words, part.name)


def _first_difference(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> int | None:
    places = np.flatnonzero(found != expected)
    return int(places[0]) if len(places) else None
