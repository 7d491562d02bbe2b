"""Datasets go both ways between gapless and the real LeRobot 0.4.4; ``make peers`` installs it and runs this.

The environment with LeRobot has neither gapless nor these tests: scripts run in it and exchange files.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.exchange.lerobot import foreign
from tests.exchange.lerobot.episodes import Take, record
from tests.exchange.lerobot.reading import read

import gapless
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.import_dataset import import_dataset
from gapless.exchange.lerobot.verify import verify_dataset

SCRIPTS = Path(__file__).parent / "lerobot"
PYTHON = os.environ.get("GAPLESS_LEROBOT_PYTHON", str(Path(__file__).parents[2] / ".venv-peers/bin/python"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("GAPLESS_PEERS") != "1",
        reason="needs the real LeRobot (1.6 GB); `make peers` installs it and sets GAPLESS_PEERS=1",
    ),
]


def run(tmp_path: Path, script: str, *words: str) -> str:
    """Run a script in LeRobot's environment and return what it printed."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hugging_face"),
        "PYTHONPATH": str(SCRIPTS),  # the stand-in for torchvision
    }
    done = subprocess.run(
        [PYTHON, str(SCRIPTS / script), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def compare(tmp_path: Path, root: Path, expected: dict[str, Any]) -> None:
    """Let the real loader compare a dataset with what it must hold."""
    np.savez(tmp_path / "expected.npz", **expected)
    told = json.loads(
        run(tmp_path, "load_dataset.py", str(root), str(tmp_path / "expected.npz")).splitlines()[-1]
    )
    rows = sum(len(values) for name, values in expected.items() if name.startswith("state_"))
    cameras = sum(name.startswith("pictures_0_") for name in expected)
    assert told["rows"] == told["windows"] == told["shuffled"] == rows
    assert told["pictures"] == rows * cameras
    assert 0 < told["subset"] <= rows


@pytest.mark.timeout(600)
@pytest.mark.parametrize("compact", [False, True], ids=["a file each", "one file"])
def test_what_verification_calls_clean_the_real_loader_reads(tmp_path: Path, *, compact: bool) -> None:
    """A dataset written by hand: the rules that are verified are those of the loader."""
    made = foreign.write(tmp_path / "set", (12, 9, 15, 1), compact=compact)
    assert verify_dataset(made.path, deep=True) == []
    expected = read(made.path)
    for episode, state in enumerate(made.states):
        assert np.array_equal(expected[f"state_{episode}"], state)
    compare(tmp_path, made.path, expected)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("codec", ["h264", "libsvtav1"])
def test_what_the_real_writer_wrote_is_imported(tmp_path: Path, codec: str) -> None:
    """Several episodes in each file: verified without an error, imported with every state and picture."""
    root, expected = tmp_path / "set", tmp_path / "written.npz"
    run(tmp_path, "write_dataset.py", str(root), str(expected), codec)
    findings = verify_dataset(root, deep=True)
    assert {finding.code for finding in findings} <= {"L006"}, findings  # it leaves videos of mode 0600
    written, shown = dict(np.load(expected)), read(root)
    with gapless.connect(str(tmp_path / "store")) as client:
        report = import_dataset(client, root, "pick")
        assert report.sequences == [f"pick/episode-{episode:06d}" for episode in range(3)]
        for episode, name in enumerate(report.sequences):
            sequence = client.sequence_handler(name)
            rows = sequence.topic("robot").to_arrow()
            for role in ("state", "action"):
                names = [f"{role}.{joint}.pos" for joint in ("shoulder", "elbow")]
                values = np.stack([rows[column].to_numpy() for column in names], axis=1)
                assert values.tobytes() == written[f"{role}_{episode}"].tobytes()
            tasks = sequence.topic("tasks").to_arrow()["task"].to_pylist()
            assert tasks == [str(written[f"task_{episode}"])]
            for camera in ("front", "wrist"):
                stored = np.array([pixels for _, pixels in sequence.topic(camera).frames()])
                assert np.array_equal(stored, shown[f"pictures_{episode}_observation.images.{camera}"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("layout", "fps"),
    [("episodes", None), ("compact", None), ("compact", 15)],
    ids=["files", "one", "encoded"],
)
def test_what_is_exported_the_real_loader_reads(tmp_path: Path, layout: str, fps: int | None) -> None:
    """Packets that were copied, or pictures encoded again for another rate; an episode is added afterwards."""
    cameras = {"front": "mp4", "wrist": "mp4"}
    with gapless.connect(str(tmp_path / "store")) as client:
        for episode, rows in enumerate((21, 15)):
            record(client, "pick", episode, Take(rows=range(rows), cameras=cameras))
        export_lerobot(client, "pick", tmp_path / "set", layout=layout, fps=fps)
        record(client, "pick", 2, Take(rows=range(1), cameras=cameras, tasks={0: "another task"}))
        report = export_lerobot(client, "pick", tmp_path / "set", layout=layout, fps=fps)
    assert (report.episodes, report.rows) == (3, 37 if fps is None else 20)
    compare(tmp_path, tmp_path / "set", read(tmp_path / "set"))
