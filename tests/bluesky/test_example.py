"""examples/06_bluesky.py: each plan is a sequence that ended as the plan did, and its images can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import gapless
from gapless.bluesky import StoredRun

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "06_bluesky.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the example; return its store and what it printed."""
    store = tmp_path_factory.mktemp("example") / "store"
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), str(store)],
        cwd=store.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "HOME": str(store.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return store, done.stdout


def test_the_example_compares_every_value_with_what_was_seen(told: tuple[Path, str]) -> None:
    """It fails where a value differs, and says so where none does."""
    assert "9 runs, every value is the one that was seen" in told[1]


def test_every_plan_ends_as_it_did(told: tuple[Path, str]) -> None:
    """Two plans did not end well; nothing else is in the store, and nothing in the spool."""
    with gapless.connect(told[0]) as client:
        runs = [StoredRun(client, name) for name in client.list_sequences()]
        ended = Counter((run.start["plan_name"], run.outcome) for run in runs)
        assert ended == {
            ("count", "completed"): 1, ("scan", "completed"): 2, ("grid_scan", "completed"): 1,
            ("fly", "completed"): 1, ("outer", "completed"): 1, ("inner", "completed"): 1,
            ("breaks", "failed"): 1, ("pauses", "aborted"): 1,
        }  # fmt: skip
        by_plan = {run.start["plan_name"]: run for run in runs}
        assert by_plan["breaks"].stop is not None
        assert by_plan["breaks"].stop["reason"] == "the shutter is stuck"
        assert by_plan["grid_scan"]["baseline"].read().num_rows == 2
        for run in runs:
            assert [f for f in client.verify(run.name, deep=True) if f.severity == "error"] == []
            assert run.check_external(deep=True) == []
    assert not list((told[0] / "spool").glob("*.jsonl"))


def test_the_images_are_those_of_the_detector(told: tuple[Path, str]) -> None:
    """Read through the run, whole and one by one, they are what the detector wrote."""
    with gapless.connect(told[0]) as client:
        [name] = [name for name in client.list_sequences() if "-fly-" in name]
        stream = StoredRun(client, name)["primary"]
        images = stream.read_external("camera")
        assert images.shape[0] == 20
        assert images.dtype == np.uint8
        assert images.max() > 0
        assert np.array_equal(np.squeeze(stream.read_external("camera", 3)), np.squeeze(images[3]))
        sums = np.asarray(stream.read_external("camera-sum")).reshape(-1)
        assert np.array_equal(sums, images.reshape(20, -1).sum(axis=1))
