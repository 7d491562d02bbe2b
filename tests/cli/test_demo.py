"""`gapless demo`: the first command a person runs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .conftest import Cli, environment


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


def test_the_demo_ends_on_its_page(tmp_path: Path) -> None:
    """`demo --ui` records, says where the page is, serves it, and ends with 0 on Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", "demo", "--seconds", "0.5", "--ui", "--store", "mine"],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = next(
            m for line in process.stdout if (m := re.search(r"look +(http://\S+)/sequences/(\S+)", line))
        )
        with urllib.request.urlopen(f"{found[1]}/api/v1/sequences/{found[2]}", timeout=60) as answer:
            assert json.load(answer)["group"] == "demo"
        with urllib.request.urlopen(f"{found[1]}/sequences/{found[2]}", timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/html")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mine"]
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate(timeout=60)


def test_the_page_needs_its_extra_before_anything_is_recorded(tmp_path: Path) -> None:
    """Without the extra it says what to install, exits 2, and there is no store."""
    program = (
        "import sys\nfor name in ('fastapi', 'uvicorn'):\n    sys.modules[name] = None\n"
        "from gapless.cli.main import main\nsys.exit(main(['demo', '--ui', '--seconds', '0.1']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'gapless[serve]'" in done.stderr
    assert not (tmp_path / "gapless-data").exists()


@pytest.mark.parametrize("words", [("--kill", "--ui"), ("--no-open",)])
def test_options_that_mean_nothing_together_are_refused(cli: Cli, words: tuple[str, ...]) -> None:
    """A page of a killed child, and not opening a page that nobody asked for."""
    done = cli("demo", *words)
    assert done.returncode == 2
    assert "next:" in done.stderr or "Next:" in done.stderr
