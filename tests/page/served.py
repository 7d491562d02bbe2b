"""A store served as its users do it: `gapless serve` in a process of its own, ended by its pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return the environment of a process that a test starts: this source tree, and nothing of the user."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("GAPLESS_")}
    paths = {"HOME": str(home), "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return {**known, **paths, "PYTHONIOENCODING": "utf-8", "TZ": "UTC", "PYTHONUNBUFFERED": "1", **extra}


def end(process: subprocess.Popen[Any], number: signal.Signals = signal.SIGTERM) -> int:
    """Stop a process that a test began, and wait for it; kill it after the deadline. Return its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(DEADLINE_S)
        raise


@dataclass(frozen=True)
class Site:
    """A store that is being served: ``url`` of the pages, ``flight_url`` of the Flight door, ``root`` on disk."""

    url: str
    flight_url: str
    root: Path
    process: subprocess.Popen[Any]
    log: Path  # stderr of the server

    @property
    def api(self) -> str:
        """Where the API begins."""
        return f"{self.url}/api/v1"


@contextmanager
def serving(root: Path, work: Path, *words: str, **extra: str) -> Iterator[Site]:
    """Serve a store in a process of its own until the block is left; ``words`` are more arguments."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "server.log"
    command = [sys.executable, "-m", "gapless.cli.main", "serve", str(root), "--port", "0", *words]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(work, **extra)
        )
    try:
        assert process.stdout is not None
        place = process.stdout.readline().removeprefix("serving on ").strip()
        assert place, f"it does not serve: {log.read_text(encoding='utf-8')}"
        url = until(lambda: _page_url(log), f"the server names no page in {log}")
        yield Site(url, place, root, process, log)
    finally:
        code = end(process)
        if process.stdout is not None:
            process.stdout.close()
    told = log.read_text(encoding="utf-8")
    assert code == 0, told
    assert "Traceback" not in told, told


def _page_url(log: Path) -> str | None:
    found = re.search(r"page: (https?://[^\s;,]+)", log.read_text(encoding="utf-8"))
    return found[1].rstrip("/") if found else None


@contextmanager
def recording_live(root: Path, work: Path) -> Iterator[subprocess.Popen[str]]:
    """Keep the sequence ``recorded.LIVE`` open in a process of its own until the block is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.page.recorded", str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(work),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "recording\n"
        yield process
    finally:
        end(process)
        if process.stdout is not None:
            process.stdout.close()


def until(look: Callable[[], T | None], words: str) -> T:
    """Look again until something is found; AssertionError with the words after the deadline."""
    give_up = time.monotonic() + DEADLINE_S
    while time.monotonic() < give_up:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(words)
