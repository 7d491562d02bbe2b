"""Two processes write one registry; a kill takes nothing that was saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.features.run_folders import all_rows, identity, remove_catalog

from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder

COUNT = 100
DEADLINE_S = 120.0

# Appends each entry to the run's ledger, then saves it, then says so; like the engine, one at a time.
_WRITER = """
import sys, time
from pathlib import Path
from tests.features.run_folders import identity, record
from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder
root, group, count, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
who = identity("speed")
folder = RunFolder.of(root, who.storage, who.run_id)
folder.begin(who, None)
registry = FeatureRegistry(root)
registry.begin_run(who, code_digest=None)
for number in range(count):
    each = [record(group, f"{group}{number:03d}")]
    folder.append(each)
    registry.save_records(who.storage, who.run_id, each)
    print(number, flush=True)
    if number == stop:
        time.sleep(3600)
"""


def writer(root: Path, group: str, stop: int = -1) -> subprocess.Popen[str]:
    """Start a process that records the entries of a group."""
    place = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(root), group, str(COUNT), str(stop)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.parametrize("stop", [-1, 30])
def test_disjoint_entries_of_two_processes_are_all_there(tmp_path: Path, stop: int) -> None:
    """Both to their end, and with one killed by SIGKILL: what either said is saved, is."""
    FeatureRegistry(tmp_path).close()
    first, second = writer(tmp_path, "a", stop), writer(tmp_path, "b")
    try:
        assert first.stdout
        if stop >= 0:
            deadline = time.monotonic() + DEADLINE_S
            while first.stdout.readline().strip() != str(stop):
                assert time.monotonic() < deadline
            first.send_signal(signal.SIGKILL)
    finally:
        first.communicate(timeout=DEADLINE_S)
        second.communicate(timeout=DEADLINE_S)
    assert second.returncode == 0
    saved = COUNT if stop < 0 else stop + 1
    who = identity("speed")
    with FeatureRegistry(tmp_path) as registry:
        rows = all_rows(registry)
        names = registry.list_entries("speed", who.run_id)["sequence"].tolist()
    assert names == [f"a{n:03d}" for n in range(saved)] + [f"b{n:03d}" for n in range(COUNT)]
    assert len(RunFolder.of(tmp_path, who.storage, who.run_id).records()) == saved + COUNT
    remove_catalog(tmp_path)
    with FeatureRegistry(tmp_path) as registry:
        assert all_rows(registry) == rows
