"""`gapless observe` as a user types it: episodes, names, seeds, ends and refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.observe.hub.server import Hub

from .conftest import Cli, environment

WHEEL = """
import time

from gapless.observe.sources import RobotSource


class Wheel:
    dt_ns = 10_000_000
    tasks = ["Turn the wheel."]
    robot_type = "wheel"
    states = 31
    pause_s = 0.0

    def reset(self, seed):
        self.count, self.seed, self.success = 0, seed, None

    def step(self):
        time.sleep(self.pause_s)
        if self.count + 1 == self.states:
            self.success = self.seed % 2 == 0
            return False
        self.count += 1
        return True

    def sources(self):
        return {
            "robot": RobotSource(
                joints=["wheel"],
                position=lambda: [self.seed + self.count / 8],
                action=lambda: [self.count / 4],
            )
        }

    def close(self):
        print("closed")


def make(seed):
    return Wheel()
"""


@pytest.fixture
def sim(tmp_path: Path) -> Path:
    """Write the wheel to where `gapless` runs."""
    file = tmp_path / "wheel.py"
    file.write_text(WHEEL, encoding="utf-8")
    return file


def episodes(store: Path) -> dict[str, Any]:
    """Return the handlers of all sequences of a store by name, in their order."""
    with gapless.connect(store) as client:
        return {name: client.sequence_handler(name) for name in sorted(client.list_sequences())}


def test_episodes_are_recorded_and_told(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """Each episode is one line, the last line is the sum; what is on disk says the same."""
    done = cli("observe", "wheel.py", "--episodes", "3", "--seed", "7", "--data-hz", "100")
    assert done.returncode == 0, done.stderr
    assert "recording wheel-seed7" in done.stderr
    assert "\x1b" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["episode", "outcome", "rows", "success"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        [f"wheel-seed7/episode-{number:06d}", "completed", "31"] for number in range(3)
    ]
    assert lines[4].startswith("wheel-seed7: 3 episodes, 93 rows, ")
    assert lines[5] == "closed"
    found = episodes(tmp_path / "gapless-data")
    assert [handler.group for handler in found.values()] == ["wheel-seed7"] * 3
    for handler in found.values():
        assert handler.topic("robot").rows == handler.topic("frames").rows == 31
        known = handler.metadata
        assert known["episode"]["robot_type"] == "wheel"
        assert known["session_seed"] == 7
        assert known["simulation"]["file"] == "wheel.py"


def test_the_same_seed_is_the_same_bytes(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """Two stores of one seed have equal digests, whatever time, folder and hash seed; another seed has others."""

    def digests(store: str, seed: str, **extra: str) -> list[str]:
        done = cli(
            "observe", str(sim), "--episodes", "2", "--seed", seed, "--store", str(tmp_path / store), "--json",
            cwd=tmp_path if not extra else Path("/"), **extra,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.replace("closed\n", ""))
        return [episode["content_digest"] for episode in told["episodes"]]

    first = digests("a", "7")
    assert digests("b", "7", PYTHONHASHSEED="5", TZ="Asia/Tokyo") == first
    assert not set(digests("c", "8")) & set(first)
    assert len(set(first)) == 2


def test_names_and_continuing(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """Without --session a taken name gets a number; with it the session goes on with the next seeds."""
    for wanted in ("wheel-seed0", "wheel-seed0-2", "wheel-seed0-3"):
        told = json.loads(cli("observe", "wheel.py", "--json").stdout.replace("closed\n", ""))
        assert told["session"] == wanted
    for number in range(2):
        told = json.loads(
            cli("observe", "wheel.py", "--session", "turns", "--json").stdout.replace("closed\n", "")
        )
        assert [e["sequence"] for e in told["episodes"]] == [f"turns/episode-{number:06d}"]
    one = json.loads(
        cli("observe", "wheel.py", "--session", "whole", "--episodes", "2", "--json").stdout.replace(
            "closed\n", ""
        )
    )
    seeds = {name: h.metadata["episode"]["seed"] for name, h in episodes(tmp_path / "gapless-data").items()}
    assert [episode["seed"] for episode in one["episodes"]] == [
        seeds["turns/episode-000000"], seeds["turns/episode-000001"],
    ]  # fmt: skip


def test_rates_and_caps(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """A fraction of a rate, and a cap in seconds of the episode's time."""
    done = cli("observe", "wheel.py", "--data-hz", "30000/1001", "--max-episode-s", "200ms", "--json")
    assert done.returncode == 0, done.stderr
    [handler] = episodes(tmp_path / "gapless-data").values()
    times = [
        time_ns for batch in handler.topic("frames").scan() for time_ns in batch["timestamp_ns"].to_pylist()
    ]
    assert times == [k * 1_001_000_000 // 30 for k in range(5)]
    assert handler.metadata["episode"]["data_hz"] == "30000/1001"


def test_a_failing_simulation(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """What was recorded is told before the error, which names the line; the exit code is 1."""
    sim.write_text(WHEEL.replace("time.sleep(self.pause_s)", "1 / (12 - self.count)"), encoding="utf-8")
    done = cli("observe", "wheel.py", "--episodes", "2", "--data-hz", "100")
    assert done.returncode == 1
    line = sim.read_text(encoding="utf-8").splitlines().index("        1 / (12 - self.count)") + 1
    assert f"wheel.py:{line}: step() of the simulation failed" in done.stderr
    assert "division by zero" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[1].split() == ["wheel-seed0/episode-000000", "failed", "13", "-"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["none.py"], 3, "no such file"),
        (["broken.py"], 2, "broken.py:1:"),
        (["wheel.py", "--episodes", "0"], 2, "--episodes"),
        (["wheel.py", "--data-hz", "fast"], 2, "rate"),
        (["wheel.py", "--data-hz", "1000"], 2, "at most 100 rows"),
        (["wheel.py", "--mode", "dreamt"], 2, "--mode"),
        (["wheel.py", "--session", "x" * 300], 2, "E101"),
        (["wheel.py", "--approve-timeout-s", "5"], 2, "--hub"),
    ],
)
def test_refusals(cli: Cli, sim: Path, tmp_path: Path, arguments: list[str], code: int, word: str) -> None:
    """A wrong call is told in one line, and nothing is recorded."""
    (tmp_path / "broken.py").write_text("def make(seed:\n", encoding="utf-8")
    done = cli("observe", *arguments)
    assert (done.returncode, done.stdout.replace("closed\n", "")) == (code, "")
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not any((tmp_path / "gapless-data" / "sequences").glob("*"))


def wait_for_rows(store: Path, child: subprocess.Popen[str]) -> None:
    """Wait until some rows of an open episode are durable."""
    deadline_s = time.monotonic() + 60
    while not any(handler.topic("robot").rows for handler in episodes(store).values() if "robot" in handler):
        assert time.monotonic() < deadline_s, "nothing was recorded"
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_seals(sim: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C seals the open episode as aborted, prints it and ends with 130."""
    sim.write_text(
        WHEEL.replace("pause_s = 0.0", "pause_s = 0.01").replace("states = 31", "states = 100_000"),
        encoding="utf-8",
    )
    child = subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", "observe", "wheel.py", "--data-hz", "100", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_rows(tmp_path / "gapless-data", child)
        os.kill(child.pid, number)
        stdout, stderr = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, stderr
    [told] = json.loads(stdout.replace("closed\n", ""))["episodes"]
    assert told["outcome"] == "aborted"
    [handler] = episodes(tmp_path / "gapless-data").values()
    assert handler.topic("robot").rows == told["rows"] > 0


def test_a_hub_gets_the_reports(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """An approved session is recorded as without a hub, and the hub knows each episode and the end."""
    alone = json.loads(
        cli("observe", "wheel.py", "--episodes", "2", "--store", "alone", "--json").stdout.replace(
            "closed\n", ""
        )
    )
    with Hub(tmp_path / "hub.db", "127.0.0.1", 0) as hub:
        token = hub.ledger.add_token("robot")
        done = cli(
            "observe", "wheel.py", "--episodes", "2", "--hub", hub.url, "--json", GAPLESS_HUB_TOKEN=token
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.replace("closed\n", ""))["episodes"]
        [task] = hub.ledger.tasks()
        reports = [report["executionMetadata"] for report in hub.ledger.episodes(task["id"])]
    assert told == alone["episodes"]
    assert task["status"] == "stopped"
    for key in ("sequence", "success", "content_digest", "seed", "outcome"):
        assert [report[key] for report in reports] == [episode[key] for episode in told]


def test_a_hub_that_does_not_approve(cli: Cli, sim: Path, tmp_path: Path) -> None:
    """Without a token, or a person who approves in time, nothing is recorded and the reason is told."""
    with Hub(tmp_path / "hub.db", "127.0.0.1", 0, manual=True) as hub:
        token = hub.ledger.add_token("robot")
        command = ("observe", "wheel.py", "--hub", hub.url, "--approve-timeout-s", "500ms")
        nobody = cli(*command, GAPLESS_HUB_TOKEN="")
        late = cli(*command, GAPLESS_HUB_TOKEN=token)
    assert (nobody.returncode, late.returncode) == (5, 1)
    assert "GAPLESS_HUB_TOKEN" in nobody.stderr
    assert "waiting for approval of wheel-seed0" in late.stderr
    assert "E902" in late.stderr
    assert episodes(tmp_path / "gapless-data") == {}
