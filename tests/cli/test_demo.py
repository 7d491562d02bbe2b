"""`gapless demo`: the first command a person runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli


def test_the_demo_records_finds_and_plots(cli: Cli, tmp_path: Path) -> None:
    """The demo leaves a sealed, verified sequence, finds the knocks, and names what to try."""
    done = cli("demo", "--seconds", "3.5")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(cli("ls", "--json").stdout)["sequences"]
    assert (row["state"], row["outcome"], row["group"]) == ("sealed", "completed", "demo")
    assert row["rows"] > 600
    assert "every byte and every row" in done.stdout
    assert "IMU.acceleration.z > 13" in done.stdout
    assert "sensors/imu" in done.stdout
    assert done.stdout.count("\n  gapless ") == 3
    assert max(len(line) for line in done.stdout.splitlines() if "│" in line) <= 80
    assert cli("verify").returncode == 0


def test_a_second_demo_touches_nothing(cli: Cli, tmp_path: Path) -> None:
    """A demo makes a new sequence and leaves the others as they are."""
    assert cli("demo", "--seconds", "0.3").returncode == 0
    (first,) = json.loads(cli("ls", "--json").stdout)["sequences"]
    assert cli("demo", "--seconds", "0.3").returncode == 0
    rows = json.loads(cli("ls", "--json").stdout)["sequences"]
    assert len(rows) == 2
    assert first in rows


@pytest.mark.crash
def test_a_killed_child_loses_nothing_acknowledged(cli: Cli, tmp_path: Path) -> None:
    """`demo --kill` recovers every acknowledged row, value for value."""
    done = cli("demo", "--kill", "--times", "2", "--store", str(tmp_path / "s"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("no acknowledged row was lost") == 2
    assert "outcome interrupted" in done.stdout
