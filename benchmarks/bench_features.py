"""Features of 1,000 short sequences: cold and cached, beside raw loops and joblib.Memory on the same files."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from doubling import DoubledArrow, DoubledPandas
from harness import Bench, main

import gapless
from gapless.features import Dataset, FeatureStep, Pipeline

_ROWS = 1_000
_SETTLED_S = 2.5  # what changed in the last two seconds is looked at again
_COLUMNS = ("x", "y", "vx", "vy", "p")


def run(bench: Bench) -> None:
    """Record once, then compare the ways to derive one column."""
    count = bench.size(1_000, 20)
    store = bench.folder("store")
    files = _record(store, count)
    ds = Dataset(store)
    rounds = iter(range(10_000))

    def ours(feature: Callable[..., Any]) -> float:
        return _cpu_ms(lambda: ds.run_feature(feature(params={"round": next(rounds)})), count)

    cold = bench.interleave(
        {
            "arrow": lambda: ours(DoubledArrow),
            "raw arrow": lambda: _cpu_ms(lambda: _raw_arrow(files, bench.folder("raw")), count),
            "pandas": lambda: ours(DoubledPandas),
            "raw pandas": lambda: _cpu_ms(lambda: _raw_pandas(files, bench.folder("raw")), count),
            "joblib": lambda: _cpu_ms(lambda: _joblib(files, bench.folder("joblib")), count),
        },
        rounds=bench.size(3, 1),
    )
    what = f"an entry of {_ROWS:,} rows, computed, durable"
    bench.compare(
        f"{what}, Arrow", "CPU ms/entry", cold["arrow"], "raw pyarrow loop", cold["raw arrow"], at_most=2.2
    )
    bench.compare(
        f"{what}, pandas", "CPU ms/entry", cold["pandas"], "raw pandas loop", cold["raw pandas"], at_most=1.7
    )
    bench.compare(f"{what}, pandas", "CPU ms/entry", cold["pandas"], "joblib.Memory", cold["joblib"])
    _cached(bench, ds, files, count)
    _workers(bench, ds, count, lambda: next(rounds))
    ds.close()


def _workers(bench: Bench, ds: Dataset, count: int, number: Callable[[], int]) -> None:
    """Compare wall time with that of one thread; Dask's two processes are up before."""
    from distributed import LocalCluster

    def wall_ms(**how: Any) -> float:
        began = time.perf_counter_ns()
        ds.run_feature(DoubledPandas(params={"round": number()}), **how)
        return (time.perf_counter_ns() - began) / 1e6 / count

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        found = bench.interleave(
            {
                "serial": lambda: wall_ms(parallel_workers=1),
                "dask": lambda: wall_ms(parallel_mode="dask", parallel_workers=2, scheduler=address),
            },
            rounds=bench.size(3, 1),
        )
    overhead = [2 * dask - serial for dask, serial in zip(found["dask"], found["serial"], strict=True)]
    told = f"overhead per entry (two workers' time less one thread's): {np.median(overhead):.2f} ms"
    bench.compare(
        "an entry on two Dask workers", "wall ms/entry", found["dask"], "one thread", found["serial"], note=told
    )  # fmt: skip


def _cached(bench: Bench, ds: Dataset, files: list[Path], count: int) -> None:
    there = ds.run_feature(DoubledPandas(params={"round": -1}))
    looked_at = [str(file) for file in (*files, *ds.run_root(there).rglob("*.parquet"))]
    pipeline = Pipeline().add(FeatureStep("doubled", DoubledPandas, {"round": -1}))
    cache = bench.folder("joblib")
    _joblib(files, cache)
    time.sleep(_SETTLED_S)

    def anew() -> None:
        with Dataset(ds.root) as other:
            other.run_feature(DoubledPandas(params={"round": -1}))

    found = bench.interleave(
        {
            "anew": lambda: 1e3 * _cpu_ms(anew, count),
            "run": lambda: 1e3 * _cpu_ms(lambda: ds.run_feature(DoubledPandas(params={"round": -1})), count),
            "status": lambda: 1e3 * _cpu_ms(lambda: pipeline.status(ds), count),
            "joblib": lambda: 1e3 * _cpu_ms(lambda: _joblib(files, cache), count),
            "stat": lambda: 1e3 * _cpu_ms(lambda: [os.stat(file) for file in looked_at], count),
        }
    )
    bench.compare(
        "an entry that is there", "CPU µs/entry", found["run"], "joblib.Memory", found["joblib"], at_least=1
    )
    bench.compare(
        "an entry that is there", "CPU µs/entry", found["run"], "two os.stat, its input's and its output's",
        found["stat"],
        at_most=1.5,
        note="an entry that is there: of an open data set, nothing of whose catalog changed in the last two seconds;"
        " else every record is decoded and compared anew",
    )  # fmt: skip
    bench.limit("an entry that is there: the budget", "CPU µs/entry", found["run"], 10)
    bench.limit("an entry that is there, of a data set opened anew", "CPU µs/entry", found["anew"], None)
    bench.limit("an entry in status", "CPU µs/entry", found["status"], None)


def _cpu_ms(work: Callable[[], object], count: int) -> float:
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) / 1e6 / count


def _record(store: Path, count: int) -> list[Path]:
    """Record the sequences and return their Parquet files."""
    random = np.random.default_rng(0)
    with gapless.connect(store) as client:
        for number in range(count):
            with client.sequence_create(f"s{number:05d}", group=f"g{number % 10}") as writer:
                names = [pa.field(name, pa.float64()) for name in _COLUMNS]
                topic = writer.topic_create("tracks", schema=pa.schema(names))
                start_ns = number * 10**12
                times = start_ns + np.arange(_ROWS, dtype=np.int64) * 33_000_000
                values = {name: random.normal(size=_ROWS).cumsum() for name in _COLUMNS}
                topic.push_columns(times, values)
    return sorted((store / "sequences").glob("*/topics/tracks/part-*.parquet"))


def _raw_arrow(files: list[Path], folder: Path) -> None:
    """Read, compute, write: no cache, no digest, nothing synced."""
    for number, file in enumerate(files):
        table = pq.ParquetFile(file).read()
        table = table.append_column("value", pc.multiply(table.column("x"), 2.0))
        pq.write_table(table, folder / f"{number}.parquet", compression="zstd", use_dictionary=False)
    shutil.rmtree(folder)


def _raw_pandas(files: list[Path], folder: Path) -> None:
    for number, file in enumerate(files):
        frame = pd.read_parquet(file)
        frame.assign(value=2.0 * frame["x"]).to_parquet(folder / f"{number}.parquet", compression="zstd")
    shutil.rmtree(folder)


def _doubled(path: str, stamp: tuple[int, int]) -> pd.DataFrame:
    del stamp
    frame = pd.read_parquet(path)
    return frame.assign(value=2.0 * frame["x"])


def _joblib(files: list[Path], folder: Path) -> None:
    """Cache by path, size and time; what is there is loaded, as its users do."""
    from joblib import Memory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cached = Memory(folder, verbose=0).cache(_doubled)
        for file in files:
            status = os.stat(file)
            cached(str(file), (status.st_size, status.st_mtime_ns))


if __name__ == "__main__":
    raise SystemExit(main(run))
