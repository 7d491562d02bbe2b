"""Records twenty walks of two animals, derives features, trains a classifier on labels, and explains itself.

Run it with a folder to keep the store: `python examples/04_features.py ./gapless-data`. Without one it works
in a temporary folder. It needs `pip install 'gapless[features]'`. A second run over the same folder computes
nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

import gapless
from gapless.features import (
    Dataset,
    FeatureStep,
    ModelStep,
    OneVsRestClassifierModel,
    Pipeline,
    PredictFeature,
)
from gapless.features.library import (
    KMeansAssignment,
    NearestNeighbor,
    SpeedAngvel,
    Templates,
    TemplatesArtifact,
)

WALKS = 20
FRAMES = 300
FPS = 30


def record_walk(client: gapless.Client, number: int) -> None:
    """Record two animals that walk, and run in the middle third; label the running."""
    random = np.random.default_rng(number)
    times = np.repeat(np.arange(FRAMES, dtype=np.int64) * (1_000_000_000 // FPS), 2)
    running = (np.arange(FRAMES) >= FRAMES // 3) & (np.arange(FRAMES) < 2 * FRAMES // 3)
    columns: dict[str, np.ndarray] = {"id": np.tile([1, 2], FRAMES)}
    paths = []
    for _ in range(2):
        heading = np.cumsum(random.normal(0, 0.1, FRAMES))
        step = np.where(running, 0.10, 0.01) * random.uniform(0.8, 1.2, FRAMES)
        paths.append((np.cumsum(step * np.cos(heading)), np.cumsum(step * np.sin(heading)), heading))
    for place, name in enumerate(("X", "Y", "ANGLE")):
        columns[name] = np.stack([path[place] for path in paths], axis=1).ravel()
    meters, radians = {b"unit": b"m"}, {b"unit": b"rad"}
    schema = pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("X", pa.float64(), metadata=meters),
            pa.field("Y", pa.float64(), metadata=meters),
            pa.field("ANGLE", pa.float64(), metadata=radians),
        ]
    )
    name = f"walk-{number:02d}"
    with client.sequence_create(name, {"number": number}, group=f"day-{number % 4}") as writer:
        writer.topic_create("tracks", schema=schema).push_columns(times, columns)
    start_ns, end_ns = int(times[2 * (FRAMES // 3)]), int(times[2 * (2 * FRAMES // 3) - 1])
    client.annotate(name, start_ns, end_ns, "running", kind="behavior", author="example")


def make_pipeline() -> Pipeline:
    """Return five features, one of them learned from all walks, and a classifier."""
    return (
        Pipeline()
        .add(FeatureStep("speed", SpeedAngvel))
        .add(FeatureStep("neighbour", NearestNeighbor))
        .add(FeatureStep("templates", Templates, {"rows": 500}, ["speed"]))
        .add(FeatureStep("clusters", KMeansAssignment, {"k": 4, "templates": TemplatesArtifact()}, ["speed"]))
        .add(
            ModelStep(
                "behaviour",
                OneVsRestClassifierModel,
                {"labels": "behavior", "seed": 1},
                ["speed", "neighbour"],
            )
        )
        .add(FeatureStep("predicted", PredictFeature, None, ["speed", "neighbour", "behaviour"]))
    )


def flip(ds: Dataset, name: str) -> None:
    """Flip one bit of a recorded file as a failing disk would: size and time stay. Twice: it is whole again."""
    file = next((ds.root / "sequences" / name / "topics" / "tracks").glob("part-*.parquet"))
    before = os.stat(file)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def main(store: Path) -> None:
    """Record, derive, train, and show what is cached and why."""
    with gapless.connect(store) as client:
        for number in range(WALKS):
            if not client.sequence_exists(f"walk-{number:02d}"):
                record_walk(client, number)
    pipeline = make_pipeline()
    with Dataset(store) as ds:
        pipeline.run(ds)
        print(pipeline.status(ds)[["step", "cached", "ok", "pending", "stale", "why"]].to_string(index=False))

        print("\nagain:", len(pipeline.plan(ds)), "entries to compute")

        if not ds.client.sequence_exists(f"walk-{WALKS:02d}"):
            record_walk(ds.client, WALKS)
        plan = pipeline.plan(ds)
        print("a new walk:", plan.groupby("step", sort=False).size().to_dict())
        pipeline.run(ds)

        flip(ds, "walk-03")
        print("\na damaged file, by size and time:", pipeline.why(ds, "speed", "walk-03"))
        print("a damaged file, every byte read:", pipeline.why(ds, "speed", "walk-03", deep=True))
        flip(ds, "walk-03")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
