"""A real episode of `gapless observe` as a page hears of it: task, number, frames, and how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import environment
from tests.cli.test_observe import WHEEL

from .conftest import Site
from .live_recorder import DEADLINE_S, hearing, taken, until, values


def test_an_episode_tells_task_number_and_frames(site: Site, tmp_path: Path) -> None:
    """From its journal, while the simulation runs; stopped by Ctrl-C it ends as aborted."""
    slow = WHEEL.replace("states = 31", "states = 10**9").replace("pause_s = 0.0", "pause_s = 0.005")
    (tmp_path / "wheel.py").write_text(slow, encoding="utf-8")
    observed = subprocess.Popen(
        [
            sys.executable, "-m", "gapless.cli.main", "observe", "wheel.py", "--episodes", "2", "--seed", "7",
            "--data-hz", "100", "--store", str(site.root),
        ],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: site.api("/live").json()["live"], "no episode is recorded")
        [listed] = site.api("/live").json()["live"]
        name = "wheel-seed7/episode-000000"
        assert (listed["name"], listed["kind"], listed["group"]) == (name, "episode", "wheel-seed7")
        path = "/live/" + name.replace("/", "%2F")
        with hearing(site, f"{path}/stream") as heard, values(site, f"{path}/samples") as line:
            first = heard.until("status")[0]["status"]["episode"]
            while not (told := heard.until("status")[0]["status"]["episode"])["frames"] > first["frames"]:
                continue
            assert (told["session"], told["index"], told["task"]) == ("wheel-seed7", 0, "Turn the wheel.")
            assert (told["dropped"], told["late"], told["data_hz"]) == (0, 0, "100")
            assert isinstance(told["seed"], int)
            while "robot:position.wheel" not in (samples := taken(line)["samples"]):
                assert samples
            observed.send_signal(signal.SIGINT)
            ended, _ = heard.until("end")
        assert (ended["state"], ended["outcome"]) == ("sealed", "aborted")
    finally:
        observed.kill()
        observed.wait(DEADLINE_S)
