"""A camera's own program while it runs: started with a path, read line by line, ended for certain.

It writes one line of JSON on its output for each picture that is in its file, and ends when its input ends: it
has closed its file then. The death of the recorder ends its input as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from gapless.errors import DeviceFault

_KILL_S = 1.0  # how long the program gets after SIGTERM, and the system after SIGKILL
_TAIL_BYTES = 300


class PictureLine(msgspec.Struct, frozen=True):
    """What the program says of one picture.

    ``frame``: its number in the file, from 0. ``time_ns``: its time by the camera's clock. ``latency_s``: how
    long before this line it was taken. ``lost``: pictures that the camera lost since the one before.
    """

    frame: int
    time_ns: int | None = None
    latency_s: float = 0.0
    lost: int = 0


_LINES: msgspec.json.Decoder[PictureLine] = msgspec.json.Decoder(PictureLine)


class CameraProgram:
    """One run of the program. Belongs to the loop that started it."""

    def __init__(self, process: Process, words: Path) -> None:
        self._process = process
        self._words = words

    @classmethod
    async def start(cls, command: Sequence[str], words: Path) -> CameraProgram:
        """Start the program in a process group of its own; what it complains goes to the file ``words``."""
        try:
            with await asyncio.to_thread(words.open, "wb") as complaints:
                process = await _spawn(command, complaints)
        except OSError as error:
            raise DeviceFault("the program cannot be started", found=str(error)) from error
        return cls(process, words)

    async def lines(self) -> AsyncIterator[PictureLine | DeviceFault]:
        """Yield what the program says until its output ends; a fault for a line that says nothing."""
        output = self._process.stdout
        assert output is not None
        while True:
            try:
                line = await output.readline()
                if not line:
                    return
                said: PictureLine | DeviceFault = _LINES.decode(line)
            except ValueError as error:  # also a line without end
                said = DeviceFault("a line is no receipt of a picture", found=str(error))
            yield said

    async def end(self, timeout_s: float) -> int | None:
        """End the program's input, wait, then terminate and kill it; return its exit code, None if it lives on."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        for wait_s, sent in ((timeout_s, signal.SIGTERM), (_KILL_S, signal.SIGKILL), (_KILL_S, None)):
            await asyncio.wait({asyncio.ensure_future(process.wait())}, timeout=wait_s)
            if process.returncode is not None:
                break
            if sent is not None:
                self._send(sent)
        return process.returncode

    def _send(self, sent: signal.Signals) -> None:
        """Send a signal to the program and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, sent)

    def last_words(self) -> str:
        """Return the end of what the program complained."""
        with self._words.open("rb") as file:
            file.seek(max(0, self._words.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()


async def _spawn(command: Sequence[str], complaints: IO[Any]) -> Process:
    return await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=complaints, start_new_session=True
    )


__all__ = ["CameraProgram", "PictureLine"]
