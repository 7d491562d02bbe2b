"""Recording from the command line: how it ends decides how it is sealed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import Cli, environment


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a recording and return when its first rows are on disk."""
    command = [
        sys.executable,
        "-m",
        "gapless.cli.main",
        "record",
        "host",
        "--name",
        "x",
        "--rate",
        "50",
        *arguments,
    ]
    # under nohup SIGHUP is ignored and a child inherits that; the recorder is meant to see it here
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL) if hasattr(signal, "SIGHUP") else None
    recorder = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if former is not None:
        signal.signal(signal.SIGHUP, former)
    journal = folder / "gapless-data" / "sequences" / "x" / "journal"
    deadline_s = time.monotonic() + 60
    while not any(path.stat().st_size > 8192 for path in journal.glob("*.seg")):
        assert time.monotonic() < deadline_s, "nothing was recorded"
        assert recorder.poll() is None, recorder.stderr.read() if recorder.stderr else ""
        os.sched_yield()
    return recorder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_one_signal_seals_as_aborted(cli: Cli, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and SIGHUP seal what was recorded as aborted and end with 130."""
    recorder = start(tmp_path)
    recorder.send_signal(number)
    out, err = recorder.communicate(timeout=60)
    assert recorder.returncode == 130, err
    assert "aborted" in out
    known = json.loads(cli("show", "x", "--json").stdout)
    assert (known["state"], known["outcome"]) == ("sealed", "aborted")
    assert known["ledger"]["written"] > 0


def test_a_killed_recorder_is_told_of_and_recovered(cli: Cli, tmp_path: Path) -> None:
    """After SIGKILL `ls` says that the owner is gone, and `recover` seals the rows as interrupted."""
    recorder = start(tmp_path)
    recorder.kill()
    recorder.communicate(timeout=60)
    assert "owner gone" in cli("ls").stdout
    assert "gapless recover x" in cli("show", "x").stdout
    assert "D009" in cli("doctor").stdout
    assert "would recover x" in cli("recover", "--dry-run").stdout
    done = cli("recover")
    assert done.returncode == 0, done.stderr
    assert "interrupted" in done.stdout
    known = json.loads(cli("show", "x", "--json").stdout)
    assert known["outcome"] == "interrupted"
    assert known["topics"]["host/cpu"]["rows"] > 0
    assert cli("verify", "--deep").returncode == 0
    assert "nothing to recover" in cli("recover").stdout


def test_watching_follows_until_the_seal(cli: Cli, tmp_path: Path) -> None:
    """`watch` of a recording in another process shows rows growing and ends when it is sealed."""
    recorder = start(tmp_path, "--for", "3s")
    done = cli("watch", "x", "--json", "--every", "200ms")
    recorder.communicate(timeout=60)
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert (looks[0]["state"], looks[-1]["state"]) == ("open", "sealed")
    counts = [look["topics"]["host/cpu"]["rows"] for look in looks if "host/cpu" in look["topics"]]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_what_a_live_process_records_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    """`recover` never touches a sequence that is being recorded."""
    recorder = start(tmp_path)
    try:
        assert "nothing to recover" in cli("recover").stdout
        assert cli("recover", "x").returncode == 1
        assert "being recorded" in cli("show", "x").stdout
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.communicate(timeout=60)
    assert recorder.returncode == 130


def test_a_taken_name_is_refused(cli: Cli) -> None:
    """Recording under a name that exists ends with 2 and changes nothing."""
    assert cli("record", "host", "--for", "200ms", "--name", "x").returncode == 0
    before = cli("show", "x", "--json").stdout
    assert cli("record", "host", "--for", "200ms", "--name", "X").returncode == 2
    assert cli("show", "x", "--json").stdout == before


STOPPED_TWICE = """
import os, signal
from gapless.cli.stopping import StopSignals
with StopSignals() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    print(stop.stopped, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)
"""


def test_the_second_signal_ends_at_once() -> None:
    """The first signal only asks; the second ends the process with 130 and says how to recover."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_TWICE],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "True\n")
    assert "gapless recover" in done.stderr


def test_an_empty_name_is_refused(cli: Cli, tmp_path: Path) -> None:
    """`--name ""` is a mistake of a script, not a wish for a name of our choice."""
    done = cli("record", "host", "--name", "", "--for", "1s")
    assert (done.returncode, "E101" in done.stderr) == (2, True)
    assert not (tmp_path / "gapless-data").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    """What was started with nohup outlives its terminal."""
    code = (
        "import os, signal\n"
        "from gapless.cli.stopping import StopSignals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with StopSignals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print(stop.stopped)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
