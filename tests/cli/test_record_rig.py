"""A rig recorded from the command line, and what an operator beside it is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import gapless

from .conftest import Cli, environment

DEADLINE_S = 60.0
RIG = """
name = "oven"

[devices.oven]
adapter = "simulated"
rate_hz = 20
fields = [{ name = "sp", unit = "degC", signal = { kind = "constant", value = 20.0 } }]

[devices.oven.safe_state]
program = [{ command = "set", arguments = { field = "sp", value = 0 } }]

[[channels]]
name = "oven_sp"
device = "oven"
field = "sp"
unit = "degC"

[setpoints.heat]
device = "oven"
command = "set"
arguments = { field = "sp" }
unit = "degC"
low = 0
high = 600
"""


@pytest.fixture
def recorder(tmp_path: Path, cli: Cli) -> Iterator[subprocess.Popen[str]]:
    """Record the rig as x until a test ends it."""
    (tmp_path / "oven.toml").write_text(RIG, encoding="utf-8")
    command = [sys.executable, "-m", "gapless.cli.main", "record", "oven.toml", "--name", "x"]
    found = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up_s = time.monotonic() + DEADLINE_S
    while '"running"' not in cli("run", "status", "x", "--json").stdout:
        assert time.monotonic() < give_up_s, "the run does not run"
        assert found.poll() is None, found.stderr.read() if found.stderr else ""
        os.sched_yield()
    yield found
    if found.poll() is None:
        found.send_signal(signal.SIGINT)
    found.communicate(timeout=DEADLINE_S)


def test_a_command_beyond_a_setpoint_is_refused(
    cli: Cli, tmp_path: Path, recorder: subprocess.Popen[str]
) -> None:
    """The words name the limits, the exit code says no, an event keeps who tried; inside it is done."""
    order = ("run", "command", "x", "oven", "set", "field=sp")
    refused = cli(*order, "value=900", "--confirm", "--by", "ada")
    assert (refused.returncode, refused.stderr) == (1, "")
    words = "heat may not be set to 900 degC; the rig allows 0 … 600 degC"
    assert refused.stdout.strip() == f"oven set refused: {words}"
    assert json.loads(cli(*order, 'value="900"', "--confirm", "--json").stdout)["status"] == "refused"
    done = cli(*order, "value=550", "--confirm")
    assert (done.returncode, done.stdout.strip()) == (0, "oven set done = 550.0")
    assert cli("run", "stop", "x").returncode == 0
    recorder.wait(DEADLINE_S)
    with gapless.connect(tmp_path / "gapless-data") as client:
        reader = client.sequence_handler("x").reader
        events = reader.topic("_events").to_arrow().to_pylist()
        first = next(row for row in events if row["kind"] == "command_refused")
        assert words in first["message"]
        known = json.loads(first["data"])
        assert (known["confirmed_by"], known["arguments"]["value"]) == ("ada", 900)
        assert max(reader.topic("channels/oven").to_arrow().column("oven_sp").to_pylist()) == 550
