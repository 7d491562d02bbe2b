"""Ctrl-C, SIGTERM and SIGHUP of a recording verb: once seals, twice ends at once and leaves recoverable data."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from types import FrameType
from typing import Any, Self

_EXIT_STOPPED = 130
_LOOK_S = 0.25  # a signal that another thread got is handled when the main thread runs next
_STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # a terminal that closes sends SIGHUP; Windows has none
_TWICE = b"stopped at once; `gapless recover @last` seals what reached the disk\n"


class StopSignals:
    """While entered, the first SIGINT, SIGTERM or SIGHUP sets :attr:`stopped`; the second ends the process.

    The handler only sets a flag and wakes :meth:`wait` through a socket: a signal can never cut a push or
    a sync in half, and the handler takes no lock that the interrupted code may hold.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._woken, self._waker = socket.socketpair()
        self._waker.settimeout(0)
        self._former: dict[int, Any] = {}

    def wait(self, timeout_s: float) -> bool:
        """Wait until stopped or until the time is over; return whether stopped."""
        until_s = time.monotonic() + timeout_s
        while not self.stopped and (left_s := until_s - time.monotonic()) > 0:
            select.select([self._woken], [], [], min(left_s, _LOOK_S))
        return self.stopped

    def check(self) -> None:
        """Raise KeyboardInterrupt when stopped: the recorder seals as aborted."""
        if self.stopped:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in _STOPPING:
            if number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup: the recording is meant to outlive its terminal
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._woken.close()
        self._waker.close()

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopped:
            os.write(2, _TWICE)
            os._exit(_EXIT_STOPPED)  # no clean-up on purpose: the journal is whole at any instant
        self.stopped = True
        self._waker.send(b"x")
