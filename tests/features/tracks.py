"""Small stores of tracks: one topic ``tracks`` with x (metres) and y at 10 Hz in each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import gapless
from gapless.features import Dataset, EntryKey, Result

STEP_NS = 100_000_000
TRACKS = pa.schema([pa.field("x", pa.float64(), metadata={"unit": "m"}), pa.field("y", pa.float64())])
ANIMALS = pa.schema([pa.field("id", pa.int64()), pa.field("x", pa.float64())])


def key_of(number: int, groups: int = 1) -> EntryKey:
    """Return group and name of the sequence with a number."""
    return f"g{number % groups}", f"s{number:03d}"


def times_of(number: int, rows: int, step_ns: int = STEP_NS) -> Any:
    """Return the time stamps of the sequence with a number; sequences do not overlap in time."""
    return number * 10**12 + np.arange(rows, dtype=np.int64) * step_ns


def record_tracks(
    store: Path, count: int, *, rows: int = 10, groups: int = 1, start: int = 0
) -> list[EntryKey]:
    """Record sequences s000, s001, ...; x is 100 times the sequence's number plus the row's."""
    keys = [key_of(number, groups) for number in range(start, start + count)]
    with gapless.connect(store) as client:
        for number, (group, name) in enumerate(keys, start):
            with client.sequence_create(name, group=group) as sequence:
                topic = sequence.topic_create("tracks", schema=TRACKS)
                if rows:
                    x = 100.0 * number + np.arange(rows)
                    topic.push_columns(times_of(number, rows), {"x": x, "y": np.zeros(rows)})
    return keys


def record_topics(
    store: Path, name: str, topics: Mapping[str, tuple[pa.Schema, Any, Mapping[str, Any]]], group: str = "g0"
) -> None:
    """Record one sequence with topics of any kind: schema, time stamps and columns of each."""
    with gapless.connect(store) as client, client.sequence_create(name, group=group) as sequence:
        for topic, (schema, times, values) in topics.items():
            sequence.topic_create(topic, schema=schema).push_columns(times, values)


def values(ds: Dataset, result: Result[str], column: str = "value") -> dict[str, list[float]]:
    """Return one column of every output of a run, by sequence."""
    return {key[1]: df[column].tolist() for key, df in ds.results(result)}


def files(ds: Dataset, result: Result[str]) -> dict[str, bytes]:
    """Return the bytes of every output of a run, by file name."""
    return {path.name: path.read_bytes() for path in sorted(ds.run_root(result).glob("*.parquet"))}


def statuses(ds: Dataset, result: Result[str]) -> dict[str, str]:
    """Return what is recorded of every sequence of a run."""
    return {key[1]: record.status for key, record in sorted(ds.entry_records(result).items())}


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file below a folder, and its folders, the catalog left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        if not path.name.startswith("catalog.db"):
            status = path.stat()
            found[path.relative_to(root).as_posix()] = (
                (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
            )
    return found
