"""Four topics read in time order, against numpy argsort, polars merge_sorted and heapq.merge over the same files."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, cost, main

from gapless import connect

_RATES_HZ = {"imu": 200, "wheel": 100, "gps": 30, "lidar": 10}
_SCHEMA = pa.schema([("timestamp_ns", pa.int64()), *((name, pa.float64()) for name in "xyz")])


def run(bench: Bench) -> None:
    seconds = bench.size(3_600, 20)
    store = bench.folder("store")
    total = _record(store, seconds)
    few = bench.size(300, 20)  # seconds of Python rows
    found = bench.interleave(
        {
            "columns": lambda: _columns(store, total),
            "numpy": lambda: _numpy(store, total),
            "polars": lambda: _polars(store, total),
            "rows": lambda: _rows(store, few),
            "heapq": lambda: _heapq(store, few),
        }
    )
    figure = "CPU ns/row"
    what = f"merge of {total:,} rows, columns"
    bench.compare(what, figure, found["columns"], "numpy concat + argsort", found["numpy"], at_most=3)
    if any(found["polars"]):
        bench.compare(what, figure, found["columns"], "polars merge_sorted", found["polars"], at_most=1)
    else:
        bench.skip(what, "polars merge_sorted", "polars is not installed: pip install polars")
    bench.compare("merge, Python tuples", figure, found["rows"], "heapq.merge", found["heapq"], at_most=0.6)


def _record(store: Path, seconds: int) -> int:
    rng = np.random.default_rng(3)
    total = 0
    with connect(store) as client, client.sequence_create("drive") as sequence:
        for name, rate in _RATES_HZ.items():
            rows = seconds * rate
            period = 1_000_000_000 // rate
            stamps = np.arange(rows, dtype=np.int64) * period + rng.integers(0, period // 2, rows)
            topic = sequence.topic_create(name, schema=_SCHEMA)
            topic.push_columns(stamps, {axis: rng.normal(size=rows) for axis in "xyz"})
            total += rows
    return total


def _files(store: Path) -> dict[str, list[Path]]:
    return {name: sorted(store.glob(f"sequences/drive/topics/{name}/*.parquet")) for name in _RATES_HZ}


def _read(paths: list[Path]) -> pa.Table:
    """Return a topic's parts as one table, in the cheapest way that pyarrow has."""
    return pa.concat_tables([pq.ParquetFile(path).read(columns=_SCHEMA.names) for path in paths])


def _columns(store: Path, total: int) -> float:
    with connect(store) as client:
        handler = client.sequence_handler("drive")
        with cost() as spent:
            rows, last = 0, -(2**63)
            for batch in handler.merge():
                rows += len(batch.timestamp_ns)
                assert int(batch.timestamp_ns[0]) >= last
                last = int(batch.timestamp_ns[-1])
    assert rows == total
    return spent.cpu_ns / total


def _numpy(store: Path, total: int) -> float:
    with cost() as spent:
        tables = [_read(paths) for paths in _files(store).values()]
        joined = np.concatenate([table["timestamp_ns"].to_numpy() for table in tables])
        codes = np.repeat(np.arange(len(tables), dtype=np.int16), [len(table) for table in tables])
        order = np.argsort(joined, kind="stable")
        merged = joined[order], codes[order]
    assert len(merged[0]) == total
    return spent.cpu_ns / total


def _polars(store: Path, total: int) -> float:
    try:
        import polars as pl
    except ModuleNotFoundError:
        return 0.0
    with cost() as spent:
        merged: Any = None
        for code, paths in enumerate(_files(store).values()):
            frame = pl.read_parquet(paths, columns=_SCHEMA.names)
            frame = frame.with_columns(topic=pl.lit(code, pl.Int16)).set_sorted("timestamp_ns")
            merged = frame if merged is None else merged.merge_sorted(frame, "timestamp_ns")
    assert merged.height == total
    return spent.cpu_ns / total


def _rows(store: Path, seconds: int) -> float:
    with connect(store) as client:
        handler = client.sequence_handler("drive")
        with cost() as spent:
            count = sum(1 for _ in handler.rows(end_ns=seconds * 1_000_000_000))
    return spent.cpu_ns / count


def _heapq(store: Path, seconds: int) -> float:
    limit = seconds * 1_000_000_000
    with cost() as spent:
        streams = []
        for name, paths in _files(store).items():
            table = _read(paths)
            table = table.slice(0, int(np.searchsorted(table["timestamp_ns"].to_numpy(), limit)))
            times, *values = (column.to_pylist() for column in table.columns)
            streams.append([(t, name, *row) for t, *row in zip(times, *values, strict=True)])
        count = sum(1 for _ in heapq.merge(*streams, key=lambda row: row[0]))
    return spent.cpu_ns / count


if __name__ == "__main__":
    raise SystemExit(main(run))
