"""Feature runs that are killed, and that meet each other: every entry is computed once, or is computed again."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.features import Dataset
from gapless.features.run_folder import RunFolder

from .feature_runner import pipeline

ROOT = Path(__file__).resolve().parents[2]
SEQUENCES = 40
DEADLINE_S = 90.0

pytestmark = pytest.mark.crash


def record(store: Path, count: int = SEQUENCES) -> None:
    """Record short sequences."""
    with gapless.connect(store) as client:
        for number in range(count):
            with client.sequence_create(f"s{number:03d}", group=f"g{number % 2}") as writer:
                topic = writer.topic_create("tracks", schema=pa.schema([("x", pa.float64())]))
                times = np.arange(20, dtype=np.int64) * 10_000_000
                topic.push_columns(times, {"x": np.sin(times / 1e8) + number})


def start(store: Path, markers: Path, *mode: str, together: int = 1) -> subprocess.Popen[bytes]:
    """Start a process that runs the pipeline, together with others."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "TOGETHER": str(together)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.feature_runner", str(store), str(markers), *mode],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process, and end all of its group."""
    try:
        return process.wait(DEADLINE_S)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # nobody of its group is left
            process.poll()


def calls(markers: Path, what: str) -> Counter[str]:
    """Return how often something was computed for each sequence."""
    return Counter(path.name.split(".")[1] for path in markers.glob(f"{what}.*"))


def outputs(store: Path, markers: Path) -> dict[str, str]:
    """Return the digests of all outputs of the pipeline."""
    with Dataset(store) as ds:
        found = {}
        for name, result in pipeline(str(markers)).load(ds).items():
            root = ds.run_root(result)
            for path in sorted(root.glob("*.parquet")):
                found[f"{name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def claimed(store: Path) -> dict[str, set[str]]:
    """Return the entries that each owner has claimed: owner -> sequences."""
    found: dict[str, set[str]] = {}
    with sqlite3.connect(f"file:{store / 'catalog.db'}?mode=ro", uri=True) as connection:
        for owner, sequence in connection.execute("SELECT owner, sequence FROM feature_claims"):
            found.setdefault(owner, set()).add(sequence)
    return found


def until(markers: Path, count: int) -> None:
    """Wait until so much was computed."""
    end = time.monotonic() + DEADLINE_S
    while sum(1 for _ in markers.iterdir()) < count:
        assert time.monotonic() < end, "nothing is computed"
        time.sleep(0.005)


def test_two_processes_share_a_pipeline_and_survive_a_kill(tmp_path: Path) -> None:
    """Nothing is computed twice but what the killed process had claimed; outputs are those of one process."""
    store, markers = tmp_path / "store", tmp_path / "markers"
    markers.mkdir()
    record(store)
    processes = [start(store, markers, together=2) for _ in range(2)]
    until(markers, 12)
    victim = processes[0]
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait(DEADLINE_S)
    held = {s for owner, names in claimed(store).items() if f"-{victim.pid}-" in owner for s in names}
    assert finish(processes[1]) == 0
    for what in ("slow", "mean"):
        counted = calls(markers, what)
        assert set(counted) == {f"s{n:03d}" for n in range(SEQUENCES)}
        twice = {sequence for sequence, count in counted.items() if count > 1}
        assert all(count <= 2 for count in counted.values())
        assert twice <= held, "an entry that nobody killed had claimed was computed twice"
    pids = {path.name.split(".")[2] for path in markers.glob("slow.*")}
    assert len(pids) == 2, "only one process computed"
    check_serial(tmp_path, store, markers)


def check_serial(tmp_path: Path, store: Path, markers: Path) -> None:
    """Compare the outputs with those of one undisturbed process, and the registry with the folders."""
    alone, other = tmp_path / "alone", tmp_path / "store-alone"
    alone.mkdir()
    record(other)
    with Dataset(other) as ds:
        pipeline(str(alone)).run(ds, progress=False)
    theirs, ours = outputs(other, alone), outputs(store, markers)
    assert len(ours) == 2 * SEQUENCES
    assert ours == theirs
    with Dataset(store) as ds:
        for result in pipeline(str(markers)).load(ds).values():
            pair = ds.resolve(result)
            folder = RunFolder.of(ds.root, *pair)
            assert ds.registry.entry_records([pair])[pair] == folder.records()
            assert ds.registry.run_is_finished(*pair)
        before = len(list(markers.iterdir()))
        pipeline(str(markers)).run(ds, progress=False)
        assert len(list(markers.iterdir())) == before, "a finished pipeline computed something"


@pytest.mark.parametrize("moment", [1, 5, 23, 41, 47, 60])
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, moment: int) -> None:
    """Killed after any number of entries: the next run computes the rest, and nothing that was recorded."""
    store, markers = tmp_path / "store", tmp_path / "markers"
    markers.mkdir()
    record(store)
    process = start(store, markers)
    until(markers, moment)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(DEADLINE_S)
    with Dataset(store) as ds:
        recorded = {
            (feature, key[1])
            for feature in ("slow", "mean__from__slow")
            for pair in [(feature, run) for run in (ds.registry.newest_run_id(feature),) if run]
            for key, record_ in ds.registry.entry_records([pair])[pair].items()
            if record_.status == "ok"
        }
        before = {what: calls(markers, what) for what in ("slow", "mean")}
        pipeline(str(markers)).run(ds, progress=False)
    for feature, sequence in recorded:
        what = feature.partition("__")[0]
        assert calls(markers, what)[sequence] == before[what][sequence], "a recorded entry was computed again"
    check_serial(tmp_path, store, markers)


def test_a_killed_dask_worker_costs_nothing(tmp_path: Path) -> None:
    """Two Dask workers, one of them killed on the way: all is computed, byte for byte as by one process."""
    store, markers = tmp_path / "store", tmp_path / "markers"
    markers.mkdir()
    record(store)
    process = start(store, markers, "dask", "2")
    until(markers, 6)
    me = str(process.pid)
    workers = {path.name.split(".")[2] for path in markers.glob("slow.*")} - {me}
    os.kill(int(next(iter(workers))), signal.SIGKILL)
    assert finish(process) == 0
    assert all(count <= 3 for count in calls(markers, "slow").values())
    check_serial(tmp_path, store, markers)
