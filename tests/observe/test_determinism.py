"""The same seed gives the same bytes, video included, whatever the machine does; another seed gives others."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def recorded(
    store: Path,
    *,
    seed: int = 7,
    encoders: int = 2,
    cpus: int = 2,
    zone: str = "UTC",
    hashes: str = "0",
    umask: int = 0o022,
) -> dict[str, str]:
    """Record in another process; return the identity of each episode and the digest of each of its files of rows."""
    store.parent.mkdir(parents=True)
    places = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    surroundings = {**os.environ, "TZ": zone, "PYTHONHASHSEED": hashes, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "tests.observe.determinism_child", str(store), str(seed), str(encoders)]
    if CPUS and shutil.which("taskset"):
        command = ["taskset", "-c", ",".join(map(str, CPUS[:cpus])), *command]
    done = subprocess.run(
        command, env=surroundings, cwd=store.parent, umask=umask, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for name, (digest, parts) in json.loads(done.stdout).items():
        found[name] = str(digest)
        assert len(parts) >= 9, "frames, tasks, episode, two tables, three cameras and their rows"
        found |= {part: hashlib.sha256((store / part).read_bytes()).hexdigest() for part in parts}
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give what an ordinary machine records."""
    return recorded(tmp_path_factory.mktemp("reference") / "a" / "store")


@pytest.mark.parametrize(
    "how",
    [
        {"cpus": 1},
        {"encoders": 1},
        {"encoders": 1, "cpus": 1},
        {"hashes": "1", "umask": 0o077},
        {"hashes": "12345", "zone": "Asia/Kathmandu"},
    ],
    ids=str,
)
def test_the_same_seed_gives_the_same_bytes(
    how: dict[str, object], reference: dict[str, str], tmp_path: Path
) -> None:
    """Processors, encoders, hash seeds, time zones, working directories and masks change nothing."""
    assert recorded(tmp_path / "another folder" / "store", **how) == reference  # type: ignore[arg-type]


def test_another_seed_gives_other_digests(reference: dict[str, str], tmp_path: Path) -> None:
    """So the comparison can fail."""
    other = recorded(tmp_path / "b" / "store", seed=8)
    episodes = [name for name in reference if name.startswith("s/")]
    assert len(episodes) == 2
    assert all(other[name] != reference[name] for name in episodes)
