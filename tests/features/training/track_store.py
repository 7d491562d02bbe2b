"""A small store with labelled tracks, for the tests of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

import gapless
from gapless.client.client import Client
from gapless.features.dataset import Dataset

STEP_NS = 100_000_000
ROWS = 60
START_NS = 1_700_000_000_000_000_000


def record(client: Client, name: str, group: str | None = None, *, rows: int = ROWS, seed: int = 0) -> None:
    """Record a sequence with a topic ``tracks``: X is high while the animal runs, Y is noise."""
    chance = np.random.default_rng([seed, *name.encode()])
    running = (np.arange(rows) // 10) % 2 == 1
    batch = pa.record_batch(
        {
            "timestamp_ns": pa.array(START_NS + np.arange(rows, dtype=np.int64) * STEP_NS),
            "X": pa.array(running * 2.0 + chance.normal(0, 0.5, rows)),
            "Y": pa.array(chance.normal(0, 1.0, rows)),
        }
    )
    with client.sequence_create(name, {}, group=group) as sequence:
        topic = sequence.topic_create("tracks", {}, schema=batch.schema)
        topic.push_batch(batch)


def label_runs(client: Client, name: str, kind: str = "behavior", *, rows: int = ROWS) -> None:
    """Label the spans in which the animal runs."""
    for first in range(10, rows, 20):
        last = min(first + 9, rows - 1)
        client.annotate(name, START_NS + first * STEP_NS, START_NS + last * STEP_NS, "run", kind=kind)


@contextmanager
def labelled(root: Path, count: int = 8) -> Iterator[Dataset]:
    """Give a data set of ``count`` labelled sequences in two groups."""
    with gapless.connect(str(root)) as client:
        for number in range(count):
            name = f"mouse-{number:02d}"
            record(client, name, f"day-{number % 2}")
            label_runs(client, name)
        with Dataset(client) as ds:
            yield ds
