"""What a process that will be killed tells in its mapped file: how much it has finished, first of all."""

from __future__ import annotations

import struct
import time
from pathlib import Path

_DEADLINE_S = 120.0
_FINISHED = struct.Struct("<q")


def until_finished(progress: Path, count: int) -> None:
    """Wait until the process has told that it finished so many, however slow the machine is."""
    give_up = time.monotonic() + _DEADLINE_S
    while _FINISHED.unpack_from(progress.read_bytes())[0] < count:
        assert time.monotonic() < give_up, f"it did not finish {count}"
        time.sleep(0.002)
