"""Frames and stores of several objects with uneven times, gaps and missing values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from tests.features.tracks import record_topics

START_NS = 1_700_000_000_123_456_789
METERS = pa.schema([pa.field("id", pa.int64()), pa.field("x", pa.float64(), metadata={"unit": "m"})])


def frame_of(time_s: Any, identity: Any = None, **columns: Any) -> pd.DataFrame:
    """Return rows as a feature sees them, with times in seconds after :data:`START_NS`."""
    seconds = np.asarray(time_s, dtype=np.float64)
    df = pd.DataFrame({"timestamp_ns": START_NS + np.rint(seconds * 1e9).astype(np.int64)})
    if identity is not None:
        df["id"] = identity
    for name, values in columns.items():
        df[name] = values
    return df.assign(group="g", sequence="s", frame=np.arange(len(df)), time=seconds)


def uneven_times(rows: int, seed: int = 0) -> NDArray[np.float64]:
    """Return rising times about a tenth of a second apart, to the nanosecond."""
    steps = np.random.default_rng(seed).uniform(0.05, 0.15, rows)
    times: NDArray[np.float64] = np.round(np.cumsum(steps) - steps[0], 9)
    return times


def mixed(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of two objects in time order, as they are recorded."""
    both = pd.concat([first.assign(id=1), second.assign(id=2)])
    return both.sort_values("timestamp_ns", kind="stable", ignore_index=True)


def assert_objects_never_mix(feature: Any, first: pd.DataFrame, second: pd.DataFrame) -> None:
    """Check that the rows of each object come out as if it were alone."""
    together = feature.apply(mixed(first, second))
    for identity, own in ((1, first), (2, second)):
        alone = feature.apply(own.assign(id=identity))
        found = together[together["id"] == identity].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, alone.reset_index(drop=True))


def assert_small_frames_work(feature: Any, *columns: str) -> pd.DataFrame:
    """Check that no row gives no row with the same columns as one row; return the output of one row."""
    one = frame_of([0.0], **dict.fromkeys(columns, 1.0))
    made: pd.DataFrame = feature.apply(one)
    none = feature.apply(one.iloc[:0])
    assert len(none) == 0
    assert list(none.columns) == list(made.columns)
    return made


def record_two(store: Path, rows: int = 40) -> NDArray[np.float64]:
    """Record sequence ``pair``: topic ``tracks`` of objects 1 and 2 at 10 Hz; return x of object 1."""
    times = START_NS + np.repeat(np.arange(rows, dtype=np.int64) * 100_000_000, 2)
    x = np.stack([np.sin(np.arange(rows)), 100 + np.arange(rows)], axis=1)
    record_topics(store, "pair", {"tracks": (METERS, times, {"id": np.tile([1, 2], rows), "x": x.ravel()})})
    return x[:, 0]


def record_animals(store: Path, rows: int = 20) -> None:
    """Record sequence ``pair`` at 10 Hz: animal 1 walks along x, 10 m/s, away from 2, which stands and is longer."""
    meters = {"unit": "m"}
    names = ["X", "Y", "ANGLE", "poseX0", "poseY0", "poseX1", "poseY1"]
    schema = pa.schema(
        [pa.field("id", pa.int64()), *(pa.field(name, pa.float64(), metadata=meters) for name in names)]
    )
    times = START_NS + np.repeat(np.arange(rows, dtype=np.int64) * 100_000_000, 2)
    x = np.stack([1.0 + np.arange(rows), np.zeros(rows)], axis=1).ravel()
    half = np.tile([0.5, 1.0], rows)
    values = dict.fromkeys(names, np.zeros(2 * rows)) | {"X": x, "poseX0": x - half, "poseX1": x + half}
    record_topics(store, "pair", {"tracks": (schema, times, {"id": np.tile([1, 2], rows), **values})})
