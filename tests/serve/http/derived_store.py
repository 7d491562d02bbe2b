"""A store of walks in two groups with a pipeline over them: computed, one entry failed, and trained."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

import gapless
from gapless.client.client import Client
from gapless.features.pipeline_file import load_pipeline

SECOND = 1_000_000_000
START_NS = 1_700_000_000 * SECOND
LOST = "day-1/lost"  # the entry of it fails
WALKS = ("day-0/walk-0", "day-0/walk-1", "day-1/walk-2", "day-1/walk-3")

_CODE = """
from gapless.features import TableFeature


class Double(TableFeature):
    name, version = "double", "1.0"

    def apply(self, df):
        if (df["x"] > 1e6).any():
            raise RuntimeError("too far away")
        return df.assign(value=2 * df["x"])


class Last(TableFeature):
    name, version = "last", "1.0"

    def apply(self, df):
        return df.tail(1)[["timestamp_ns", "value"]]
"""
_PIPELINE = """
topic = "tracks"
where = 'sequence.name match "*/walk-*" or sequence.name match "*/lost*"'

[[steps]]
name = "doubled"
feature = "MODULE:Double"

[[steps]]
name = "ends"
feature = "MODULE:Last"
inputs = ["doubled"]
"""
_TRAINING = """
[[steps]]
name = "far"
model = "one-vs-rest"
inputs = ["doubled"]
config = { labels = "distance", seed = 1 }
"""


@dataclass(frozen=True)
class Derived:
    """The store, the pipeline over it, and the module of its features."""

    root: Path
    pipeline: Path
    module: Path

    def run(self) -> None:
        """Compute what is missing, as `gapless features run` does."""
        loaded = load_pipeline(self.pipeline)
        with loaded.dataset(self.root) as ds:
            loaded.pipeline.run(ds, progress=False)

    def why(self, step: str, sequence: str) -> str:
        """Return the words of `gapless features why`."""
        loaded = load_pipeline(self.pipeline)
        with loaded.dataset(self.root) as ds:
            return loaded.pipeline.why(ds, step, sequence)


def derived(folder: Path, *, training: bool = False) -> Derived:
    """Record the walks into ``folder/store`` and write a pipeline over them; nothing is computed yet.

    Its module has a name that no other test of the process imports.
    """
    with gapless.connect(folder / "store") as client:
        for number, name in enumerate(WALKS):
            walk(client, name, float(number))
    module = folder / f"walks_{uuid.uuid4().hex[:8]}.py"
    module.write_text(_CODE, encoding="utf-8")
    pipeline = folder / "walks.toml"
    text = _PIPELINE + (_TRAINING if training else "")
    pipeline.write_text(text.replace("MODULE", module.stem), encoding="utf-8")
    return Derived(folder / "store", pipeline, module)


def walk(client: Client, name: str, first: float) -> None:
    """Record four seconds, labelled in their second half; the group is what the name begins with."""
    times_ns = START_NS + np.arange(40, dtype=np.int64) * (SECOND // 10)
    with client.sequence_create(name, group=name.partition("/")[0]) as writer:
        topic = writer.topic_create("tracks", schema=pa.schema([pa.field("x", pa.float64())]))
        topic.push_columns(times_ns, {"x": first + np.where(np.arange(40) >= 20, 5.0, 0.0)})
    client.annotate(name, START_NS + 2 * SECOND, START_NS + 4 * SECOND, "far", kind="distance")


def rework(root: Path, name: str) -> None:
    """Put a layer on a walk that adds a row to the topic that features read."""
    with gapless.connect(root) as client, client.sequence_update(name, "rework") as layer:
        layer.log("tracks", {"x": 7.0}, timestamp_ns=START_NS + 5 * SECOND)
