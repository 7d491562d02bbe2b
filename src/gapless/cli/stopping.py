"""Ctrl-C and SIGTERM of a recording verb: once seals, twice ends at once and leaves recoverable data."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Self

_EXIT_STOPPED = 130
_TWICE = b"stopped at once; `gapless recover @last` seals what reached the disk\n"


class StopSignals:
    """While entered, the first SIGINT or SIGTERM sets :attr:`stopped`; the second ends the process.

    The handler only sets a flag, so a signal can never cut a push or a sync in half.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._former: dict[int, object] = {}

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until stopped or until the time is over; return whether stopped."""
        return self._event.wait(max(0.0, timeout_s))

    def check(self) -> None:
        """Raise KeyboardInterrupt when stopped: the recorder seals as aborted."""
        if self._event.is_set():
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._event.is_set():
            os.write(2, _TWICE)
            os._exit(_EXIT_STOPPED)  # no clean-up on purpose: the journal is whole at any instant
        self._event.set()
