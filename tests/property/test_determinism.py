"""The same producer-stamped rows give the same files and the same content digest, however they were recorded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import gapless

SCRIPT = Path(__file__).with_name("deterministic_recording.py")
SOURCE = str(Path(gapless.__file__).parents[1])  # the process runs in another folder
VARIANTS: list[dict[str, Any]] = [
    {"env": {"PYTHONHASHSEED": "0", "TZ": "UTC"}, "umask": 0o022, "cpus": None},
    {"env": {"PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata"}, "umask": 0o077, "cpus": "0"},
    {"env": {"PYTHONHASHSEED": "77", "TZ": "America/St_Johns", "LC_ALL": "C"}, "umask": 0o002, "cpus": None},
    {"env": {"PYTHONHASHSEED": "random"}, "umask": 0o022, "cpus": "0"},
]


def record(folder: Path, number: int) -> Any:
    """Record in a process of its own and return what it printed."""
    variant = VARIANTS[number % len(VARIANTS)]
    folder.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder / "out"), str(number)]
    (folder / "out").mkdir()
    if variant["cpus"] is not None and shutil.which("taskset"):
        command = ["taskset", "-c", variant["cpus"], *command]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": SOURCE} | variant["env"],
        umask=variant["umask"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_files_and_digest_depend_on_the_rows_alone(tmp_path: Path) -> None:
    """Random blocks, flushes and sleeps, hash seed, time zone, folder, umask, one core or all: the same bytes."""
    results = [record(tmp_path / f"run {n}", n) for n in range(6)]
    (digests, contents), *others = results
    assert all(len(parts) > 4 for parts in contents)
    for number, (other_digests, other_contents) in enumerate(others, 1):
        assert other_contents == contents, f"variant {number}"
        assert other_digests == digests, f"variant {number}"
    parts = sorted((tmp_path / "run 0" / "out" / "small" / "topics" / "sensors%2Fmotion").iterdir())
    assert len(parts) > 3
    assert [pq.read_metadata(p).num_rows for p in parts[:-1]] == [300] * (len(parts) - 1)
