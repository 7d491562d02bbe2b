"""The arm of examples/05_episodes.py: it picks the cube up, is drawn headless, and repeats itself to the bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.acquire.debian import can_draw

import gapless


@pytest.fixture(scope="module", autouse=True)
def _drawn() -> None:
    """Have something that draws."""
    if not can_draw():
        pytest.skip("nothing draws here: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri, as root")


ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "05_episodes.py"
ARM = ROOT / "examples" / "sims" / "arm.py"
CAMERAS = ("front", "wrist")


def run(command: list[str], cwd: Path, **extra: str) -> str:
    """Run a program of this checkout in a process of its own and return what it printed."""
    env = {**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent), "MUJOCO_GL": "egl", **extra}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


LIFTS = """
import json, sys
from gapless.observe.session_run import episode_seed
from gapless.observe.simulation import load_simulation

arm, taken_away_s, found = load_simulation(sys.argv[1]), float(sys.argv[2]), []
for number in range(int(sys.argv[3])):
    arm.reset(episode_seed(1, number))
    start, states = arm.cube, 1
    while arm.step():
        states += 1
        if abs(arm.data.time - taken_away_s) < 0.001:
            arm.data.joint("cube").qpos[:3] = (0.6, 0.3, 0.02)
    aside = arm.cube - arm.data.site("tool").xpos
    found.append({
        "states": states, "rose_m": arm.cube[2] - start[2], "aside_m": float(abs(aside[:2]).max()),
        "finger_m": arm.data.qpos[6], "success": arm.success,
    })
arm.close()
print(json.dumps(found))
"""


def lifts(taken_away_s: float, episodes: int, cwd: Path) -> list[dict[str, Any]]:
    """Step episodes without recording; in a process of its own, which chooses how MuJoCo draws."""
    command = [sys.executable, "-c", LIFTS, str(ARM), str(taken_away_s), str(episodes)]
    found: list[dict[str, Any]] = json.loads(run(command, cwd))
    return found


def test_the_cube_is_lifted_wherever_it_stands(tmp_path: Path) -> None:
    """All of 20 seeds succeed by the measured pose, and the fingers are what holds the cube."""
    found = lifts(-1, 20, tmp_path)
    assert [(episode["states"], episode["success"]) for episode in found] == [(2500, True)] * 20
    for episode in found:
        assert episode["rose_m"] > 0.10
        assert episode["aside_m"] < 0.01
        assert episode["finger_m"] == pytest.approx(0.02, abs=0.002)  # kept from closing by half a cube


def test_a_cube_that_is_taken_away_is_no_success(tmp_path: Path) -> None:
    """Success is measured, not assumed."""
    [episode] = lifts(3.0, 1, tmp_path)
    assert episode["success"] is False


@pytest.mark.slow
@pytest.mark.timeout(900)  # drawing without a graphics card takes minutes on a busy machine
def test_the_example_tells_its_story(tmp_path: Path) -> None:
    """Ten episodes of 150 rows with two pictures each; a second run records nothing."""
    store = tmp_path / "store"
    first = run([sys.executable, "-W", "error", str(EXAMPLE), str(store)], tmp_path)
    assert "10 episodes, the cube was lifted in 10" in first
    with gapless.connect(store) as client:
        names = sorted(client.list_sequences())
        assert names == [f"pick/episode-{number:06d}" for number in range(10)]
        for name in names:
            episode = client.sequence_handler(name)
            assert episode.outcome == "completed"
            assert {t: episode.topic(t).rows for t in ("frames", "robot", *CAMERAS)} == dict.fromkeys(
                ("frames", "robot", *CAMERAS), 150
            )
            assert episode.ledger["dropped"] == episode.ledger["gapped"] == 0
        episode = client.sequence_handler(names[0])
        pictures = {camera: [p for _, p in episode.topic(camera).frames()] for camera in CAMERAS}
    for camera in CAMERAS:
        assert [p.shape for p in pictures[camera]] == [(480, 640, 3)] * 150
        assert len({p.tobytes() for p in pictures[camera]}) > 100  # the scene moves
    again = run([sys.executable, "-W", "error", str(EXAMPLE), str(store)], tmp_path)
    assert "recording" not in again


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_seed_is_the_same_bytes_on_any_machine_of_this_kind(tmp_path: Path) -> None:
    """One processor or all, other hash seeds, zones and folders: equal digests, pictures included."""

    def digests(store: str, seed: int, *prefix: str, cwd: Path = tmp_path, **extra: str) -> list[str]:
        command = [
            *prefix, sys.executable, "-m", "gapless.cli.main", "observe", str(ARM), "--seed", str(seed),
            "--episodes", "2", "--max-episode-s", "1", "--store", str(tmp_path / store), "--json",
        ]  # fmt: skip
        return [e["content_digest"] for e in json.loads(run(command, cwd, **extra))["episodes"]]

    first = digests("a", 7, "taskset", "-c", str(min(os.sched_getaffinity(0))))
    assert digests("b", 7, PYTHONHASHSEED="1", TZ="Asia/Tokyo", cwd=Path("/")) == first
    assert digests("c", 7, PYTHONHASHSEED="2", LP_NUM_THREADS="0") == first
    assert not set(digests("d", 8)) & set(first)
