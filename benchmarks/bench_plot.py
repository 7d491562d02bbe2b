"""A curve of ten million points in 2,000, through the pyramid, against reading the column and tsdownsample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, cost, main

from gapless import connect

_POINTS = 2_000
_SCHEMA = pa.schema([("timestamp_ns", pa.int64()), ("value", pa.float64())])


def run(bench: Bench) -> None:
    rows = bench.size(10_000_000, 600_000)
    store = bench.folder("store")
    values = _record(store, rows)
    lowest, highest = float(values.min()), float(values.max())
    del values
    peer = "read + tsdownsample"
    try:
        import tsdownsample  # noqa: F401
    except ModuleNotFoundError:
        bench.skip(f"{rows:,} points to {_POINTS:,}", peer, "tsdownsample is not installed")
        return
    found = bench.interleave(
        {"ours": lambda: _pyramid(store, lowest, highest), "peer": lambda: _tsdownsample(store)}
    )
    bench.compare(
        f"{rows:,} points to {_POINTS:,}", "CPU ms", found["ours"], peer, found["peer"], at_most=0.2,
        note="least and greatest value checked in every round; opening the sequence included",
    )  # fmt: skip


def _record(store: Path, rows: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.cumsum(np.random.default_rng(5).normal(size=rows))
    block = 500_000
    with connect(store) as client, client.sequence_create("long") as sequence:
        topic = sequence.topic_create("signal", schema=_SCHEMA)
        for start in range(0, rows, block):
            part = values[start : start + block]
            topic.push_columns(
                np.arange(start, start + len(part), dtype=np.int64) * 1_000_000, {"value": part}
            )
    return values


def _pyramid(store: Path, lowest: float, highest: float) -> float:
    with connect(store) as client, cost() as spent:
        curve = client.sequence_handler("long").topic("signal").downsample("value", points=_POINTS)
    assert float(curve.minimum.min()) == lowest, "the least value is not in the curve"
    assert float(curve.maximum.max()) == highest, "the greatest value is not in the curve"
    return spent.cpu_ns / 1e6


def _tsdownsample(store: Path) -> float:
    from tsdownsample import MinMaxDownsampler

    with cost() as spent:
        table = pq.read_table(store / "sequences" / "long" / "topics" / "signal", columns=_SCHEMA.names)
        times, values = table["timestamp_ns"].to_numpy(), table["value"].to_numpy()
        picked = MinMaxDownsampler().downsample(times, values, n_out=_POINTS)
        drawn = times[picked], values[picked]
    assert len(drawn[0]) <= _POINTS
    return spent.cpu_ns / 1e6


if __name__ == "__main__":
    raise SystemExit(main(run))
