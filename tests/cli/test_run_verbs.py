"""`gapless run …` and `gapless watch` of a run, as an operator types them beside a process that records."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.acquire.small_run import SmallRun, event

import gapless
from gapless.acquire.command import Command
from gapless.acquire.control.server import ControlServer

from .conftest import Cli, environment

DEADLINE_S = 60.0


class Recording:
    """A sequence that this process records, with a run that answers on its control socket."""

    def __init__(self, folder: Path) -> None:
        self.run = SmallRun("oven-1")
        self._open = ExitStack()
        client = self._open.enter_context(gapless.connect(str(folder / "gapless-data")))
        self.sequence = self._open.enter_context(client.sequence_create("oven-1"))
        self.server = ControlServer(self.run)
        self.server.start()
        self.sequence.announce({"pid": os.getpid(), "control": str(self.server.path)})

    def end(self) -> None:
        """Seal and close the socket, in the order of a run."""
        self._open.close()
        self.server.close()


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    """Record in the store of the command line's folder."""
    found = Recording(tmp_path)
    yield found
    found.end()


def test_status_shows_what_the_run_says(cli: Cli, recording: Recording) -> None:
    """Values with unit and flags, queues, the countdown and events; JSON is the status itself."""
    done = cli("run", "status", "oven-1")
    assert done.returncode == 0, done.stderr
    for words in ("running", "580.25", "degC", "device_invalid", "bridge:serial 3", "in 6.0 s", "alarm  hot"):
        assert words in done.stdout
    assert json.loads(cli("run", "status", "@last", "--json").stdout) == recording.run.status()


def test_actions_reach_the_run_with_a_name(cli: Cli, recording: Recording) -> None:
    """Note and stop name the user, or whom --by says."""
    assert cli("run", "note", "oven-1", "lid closed", "--by", "ada").returncode == 0
    assert cli("run", "stop", "oven", "--reason", "lunch", LOGNAME="bob").returncode == 0
    assert recording.run.asked == [("note", "lid closed", "ada"), ("stop", "lunch", "bob")]


def test_a_command_needs_a_person(cli: Cli, recording: Recording) -> None:
    """Without --confirm and without a terminal nothing is sent; with it the answer decides the exit code."""
    refused = cli("run", "command", "oven-1", "oven", "write", "value=3.5")
    assert refused.returncode == 2
    assert "--confirm" in refused.stderr
    assert recording.run.asked == []
    done = cli(
        "run",
        "command",
        "oven-1",
        "oven",
        "write",
        "value=3.5",
        "mode=auto",
        "--confirm",
        "--by",
        "ada",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["accepted"], answer["value"]) == ("done", True, 3.5)
    [(_, device, command)] = recording.run.asked
    assert isinstance(command, Command)
    assert (device, command.name, command.arguments) == ("oven", "write", {"value": 3.5, "mode": "auto"})
    assert (command.confirmed_by, command.issued_by) == ("ada", "ada")
    assert answer["command_id"] == command.command_id


@pytest.mark.parametrize(("typed", "code"), [("yes", 0), ("no", 2)])
def test_a_person_at_a_terminal_is_asked(tmp_path: Path, recording: Recording, typed: str, code: int) -> None:
    """On a terminal the command waits for the word yes."""
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "gapless.cli.main", "run", "command", "oven-1", "oven", "write"]
    asked = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.close(inner)
    try:
        assert asked.stderr is not None
        assert b"type yes" in asked.stderr.readline()
        os.write(outer, f"{typed}\n".encode())
        asked.communicate(timeout=DEADLINE_S)
    finally:
        os.close(outer)
        if asked.poll() is None:
            asked.kill()
    assert asked.returncode == code
    assert len(recording.run.asked) == (1 if typed == "yes" else 0)


def test_a_prompt_is_answered(cli: Cli, recording: Recording) -> None:
    """The one question is answered without its id; none or several are told."""
    assert "asks nothing" in cli("run", "confirm", "oven-1", "yes").stderr
    recording.run.prompts = [{"prompt_id": "p1", "text": "sample in?", "choices": ["yes", "no"]}]
    assert "asks: sample in?" in cli("run", "status", "oven-1").stdout
    assert cli("run", "confirm", "oven-1", "yes", "--by", "ada").returncode == 0
    recording.run.prompts += [{"prompt_id": "p2", "text": "door shut?", "choices": ["yes"]}]
    several = cli("run", "confirm", "oven-1", "yes")
    assert several.returncode == 2
    assert "p2 (door shut?)" in several.stderr
    assert cli("run", "confirm", "oven-1", "yes", "--prompt", "p2", "--by", "ada").returncode == 0
    assert recording.run.asked == [("confirm", "p1", "yes", "ada"), ("confirm", "p2", "yes", "ada")]


def test_an_emergency_stop_prints_the_report(cli: Cli, recording: Recording) -> None:
    """Exit 0 when every device is safe, 7 when one may not be, and its name stands in the message."""
    done = cli("run", "emergency-stop", "oven-1")
    assert (done.returncode, done.stdout) == (0, "oven  safe in 0.25 s\n")
    recording.run.unsafe = ["pump"]
    unsafe = cli("run", "emergency-stop", "oven-1", "--json")
    assert unsafe.returncode == 7
    assert [o["status"] for o in json.loads(unsafe.stdout)["outcomes"]] == ["safe", "unsafe"]
    assert "NOT SAFE: pump" in cli("run", "emergency-stop", "oven-1").stderr


def test_the_socket_itself_is_a_reference(cli: Cli, recording: Recording, tmp_path: Path) -> None:
    """With the store out of reach, the path of the socket does."""
    path = str(recording.server.path)
    assert cli("run", "emergency-stop", path, "--store", str(tmp_path / "gone")).returncode == 0
    assert recording.run.asked[0][0] == "emergency_stop"


@pytest.mark.parametrize(
    "action",
    [("note", "text"), ("command", "oven", "write", "value=1", "--confirm"), ("stop",), ("emergency-stop",)],
)
def test_a_dry_run_does_nothing(cli: Cli, recording: Recording, action: tuple[str, ...]) -> None:
    """What would be asked is told, and the run hears nothing of it."""
    name, *rest = action
    done = cli("run", name, "oven-1", *rest, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"would ask oven-1 for {name}" in done.stdout
    assert recording.run.asked == []


def test_what_is_not_recorded_is_not_found(cli: Cli, recording: Recording) -> None:
    """Exit 3 for an unknown name and for a sealed sequence, 5 for a recorder without a socket."""
    assert cli("run", "status", "other").returncode == 3
    recording.sequence.announce({"pid": os.getpid()})
    silent = cli("run", "status", "oven-1")
    assert silent.returncode == 5
    assert "takes no requests" in silent.stderr
    recording.end()
    sealed = cli("run", "status", "oven-1")
    assert sealed.returncode == 3
    assert "oven-1 is not being recorded now" in sealed.stderr


def test_watching_a_run_shows_the_run(cli: Cli, recording: Recording) -> None:
    """One look has the values with their units; JSON keeps its keys and adds the run."""
    done = cli("watch", "oven-1", "--for", "100ms")
    assert done.returncode == 0, done.stderr
    assert "heater_pv 580.25 degC, flow - L/min !; 12 rows not durable yet" in done.stdout
    known = json.loads(cli("watch", "oven-1", "--for", "100ms", "--json").stdout)
    assert (known["name"], known["state"], known["topics"]) == ("oven-1", "open", {})
    assert known["run"] == recording.run.status()


def test_watching_prints_events_and_ends_with_the_run(tmp_path: Path, recording: Recording) -> None:
    """Events come as lines; when the run is over the watcher says how it was sealed."""
    command = [sys.executable, "-u", "-m", "gapless.cli.main", "watch", "oven-1", "--every", "100ms"]
    watcher = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline_s = time.monotonic() + DEADLINE_S
        while not recording.run.feeds:
            assert time.monotonic() < deadline_s, "the watcher does not come"
            time.sleep(0.01)
        recording.run.mirror(event("valve_stuck", "number 3"))
        assert watcher.stdout is not None
        lines: list[str] = []
        while not any("valve_stuck  number 3" in line for line in lines):
            lines.append(watcher.stdout.readline())
            assert lines[-1], "the watcher ended"
        recording.run.end()
        recording.end()
        out, err = watcher.communicate(timeout=DEADLINE_S)
    finally:
        if watcher.poll() is None:
            watcher.kill()
            watcher.wait()
    assert watcher.returncode == 0, err
    assert out.splitlines()[-1] == "oven-1: sealed, completed, 0 rows"


def test_a_run_that_loses_its_socket_is_still_followed(cli: Cli, recording: Recording) -> None:
    """Without the socket the watcher reads what is durable, as with any recording."""
    topic = recording.sequence.topic_create("t", schema=pa.schema([("a", pa.float64())]))
    topic.push_row(None, 2.0)
    recording.sequence.flush()
    recording.server.close()
    known = json.loads(cli("watch", "oven-1", "--for", "100ms", "--json").stdout)
    assert "run" not in known
    assert known["topics"]["t"]["rows"] == 1


def arguments_of(action: str) -> list[str]:
    """Return what an action needs beside the reference."""
    needs: dict[str, list[Any]] = {"note": ["text"], "command": ["oven", "write"], "confirm": ["yes"]}
    return needs.get(action, [])


@pytest.mark.parametrize("action", ["status", "note", "command", "confirm", "stop", "emergency-stop"])
def test_every_action_needs_its_arguments(cli: Cli, action: str) -> None:
    """A missing reference is a usage error that names the action's help."""
    done = cli("run", action)
    assert done.returncode == 2
    assert f"gapless run {action} --help" in done.stderr
    assert cli("run", action, "x", *arguments_of(action)).returncode == 3
