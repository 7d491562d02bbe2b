"""What workers do in the tests of executors: importable, and told by files what to do."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Chunk:
    """One piece of work; ``folder`` gets a file for every time it is begun."""

    number: int
    folder: Path
    act: str = ""

    @property
    def begun(self) -> int:
        """How often it was begun."""
        return len(list(self.folder.glob(f"{self.number}.*")))


class Odd(Exception):
    """An error that cannot be made again from its pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def work(chunk: Chunk) -> tuple[int, int]:
    """Return the chunk's number squared and the process it was computed in, or do what it says."""
    (chunk.folder / f"{chunk.number}.{uuid.uuid4().hex}").touch()
    if chunk.act == "die" or (chunk.act == "die once" and chunk.begun == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if chunk.act == "raise":
        raise LookupError(f"no chunk {chunk.number}")
    if chunk.act == "odd":
        raise Odd(1, 2)
    if chunk.act == "wait":
        wait_for(chunk.folder / "go")
    return chunk.number**2, os.getpid()


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + _DEADLINE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


def unpicklable(chunk: Chunk) -> Any:
    """Return something that cannot travel."""
    return threading.Lock()


def loaded_modules(chunk: Chunk) -> list[str]:
    """Return what a worker has imported."""
    return sorted(sys.modules)
