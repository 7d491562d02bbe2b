"""Run the command line as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gapless

SOURCE = Path(gapless.__path__[0]).parent
Cli = Callable[..., subprocess.CompletedProcess[str]]


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a test process: this checkout first on the path, no store of the user."""
    known = {key: value for key, value in os.environ.items() if key not in ("GAPLESS_STORE", "NO_COLOR")}
    return {**known, "PYTHONPATH": str(SOURCE), "PYTHONIOENCODING": "utf-8", "TZ": "UTC", **extra}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs `gapless …` in an empty folder and gives the completed process."""

    def run(*arguments: str, cwd: Path = tmp_path, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gapless.cli.main", *arguments],
            cwd=cwd,
            env=environment(**extra),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=100,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run
