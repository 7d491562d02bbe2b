"""Servers that are killed, and what is found in the store of one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gapless.client.client import connect
from gapless.store.layout import Bundle

from .raw_writer import DEADLINE_S, SCHEMA, rows

HERE = Path(__file__).parent


class Process:
    """A server process of a store."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "writing_server.py"), str(root)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server did not start"
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it as an out-of-memory killer does; doing it twice changes nothing."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait(DEADLINE_S)
        self._process.stdout.close()


def bundle(root: Path, name: str = "run") -> Bundle:
    """Return the bundle of a sequence."""
    return Bundle(root / "sequences" / name)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a state."""
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def local_digest(path: Path, count: int) -> str | None:
    """Return the identity of the same rows, recorded in a folder."""
    with connect(path) as client:
        with client.sequence_create("run") as seq:
            seq.topic_create("t", {"x": 1}, schema=SCHEMA).push_batch(rows(0, count))
        return seq.content_digest
