"""Nobody reads what the command line prints any more: what it does goes on, and the exit code says how it ended."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gapless.cli.lasting_stream import LastingStream

from .conftest import Cli, environment

GAPLESS = [sys.executable, "-m", "gapless.cli.main"]


def known(cli: Cli, name: str) -> dict[str, object]:
    """Return what `show` knows of a sequence."""
    found: dict[str, object] = json.loads(cli("show", name, "--json").stdout)
    return found


@pytest.mark.parametrize("gone", ["stdout", "stderr", "both"])
def test_a_recording_outlasts_the_reader_of_its_words(cli: Cli, tmp_path: Path, gone: str) -> None:
    """A pipe without a reader ends no recording: it is completed, and the exit code says so."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*GAPLESS, "record", "host", "--name", "x", "--for", "1s"],
        cwd=tmp_path, env=environment(), timeout=100, check=False,
        stdout=subprocess.DEVNULL if gone == "stderr" else write,
        stderr=subprocess.DEVNULL if gone == "stdout" else write,
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 0
    assert (known(cli, "x")["state"], known(cli, "x")["outcome"]) == ("sealed", "completed")


@pytest.mark.parametrize("ignored", [False, True], ids=["hangup", "hangup-ignored"])
def test_a_terminal_that_closes_seals_or_is_outlived(cli: Cli, tmp_path: Path, ignored: bool) -> None:
    """A hangup stops and seals as aborted; a recorder that is to outlive it, as under nohup, records to its end."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        os.chdir(tmp_path)
        command = [*GAPLESS, "record", "host", "--name", "x", "--for", "4s" if ignored else "60s"]
        os.execve(sys.executable, command, environment(TERM="xterm"))
    give_up = time.monotonic() + 60
    while b"rows" not in os.read(terminal, 65536):  # the status line: it records
        assert time.monotonic() < give_up
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if ignored else 130)
    assert known(cli, "x")["state"] == "sealed"
    assert known(cli, "x")["outcome"] == ("completed" if ignored else "aborted")


def test_streams_that_were_closed_before_the_start_lead_to_nobody(tmp_path: Path) -> None:
    """`gapless … >&- 2>&-` records."""
    command = " ".join([*GAPLESS, "record host --name x --for 1s >&- 2>&-"])
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), timeout=100, check=False)
    assert done.returncode == 0
    assert (tmp_path / "gapless-data/sequences/x/manifest.json").exists()


def test_a_reading_verb_ends_with_its_reader(cli: Cli, tmp_path: Path) -> None:
    """`gapless help | head` is no failure."""
    command = " ".join([*GAPLESS, "help | head -1; exit ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), timeout=100, check=False)
    assert done.returncode == 0


def test_a_lasting_stream_tells_that_its_reader_has_gone() -> None:
    """What is written before arrives; what comes after is taken without an error."""
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding="utf-8") as stream:
        lasting = LastingStream(stream)
        assert lasting.write("here\n") == 5
        lasting.flush()
        assert os.read(read, 100) == b"here\n"
        gone = [lasting.reader_has_gone]
        os.close(read)
        lasting.write("nobody\n")
        lasting.flush()
        assert [*gone, lasting.reader_has_gone] == [False, True]
        print("still nobody", file=lasting, flush=True)
    assert lasting.encoding == "utf-8"


def test_control_characters_of_a_recording_are_shown_and_not_obeyed(cli: Cli, tmp_path: Path) -> None:
    """Groups, metadata and labels come from anybody: no terminal obeys them."""
    (tmp_path / "a.csv").write_text("timestamp_ns,x\n1,1\n2,2\n", encoding="utf-8")
    words = ("--group", "g\x1b[31mRED\x1b]0;owned\x07", "--metadata", '{"k": "\\u001b[2Jx"}')
    assert cli("import", "a.csv", "--name", "x", *words).returncode == 0
    for command in (("show", "x"), ("ls",), ("tree",)):
        done = cli(*command)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "\x07" not in done.stdout
    assert "g\\x1b[31mRED\\x1b]0;owned\\x07" in cli("show", "x").stdout


def test_a_store_in_the_home_folder_is_the_same_for_every_verb(cli: Cli, tmp_path: Path) -> None:
    """Also where no shell replaces the tilde."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "a.csv").write_text("timestamp_ns,x\n1,1\n2,2\n", encoding="utf-8")
    assert cli("import", "a.csv", "--name", "x", "--store=~/data", HOME=str(home)).returncode == 0
    assert "x" in cli("ls", "--store=~/data", HOME=str(home)).stdout
    assert (home / "data" / "sequences" / "x").is_dir()
    assert not (tmp_path / "~").exists()
