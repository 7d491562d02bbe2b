"""Ctrl-C as a request: a run that is started from Python ends in order and is never cut in half."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupt:
    """While entered, the first Ctrl-C sets :attr:`asked`; a second one does what it did before.

    Only in the main thread, and only where nobody else has taken the signal.
    """

    def __init__(self) -> None:
        self.asked = False
        self._former: Any = None

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._former = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._former(number, frame)
        self.asked = True


__all__ = ["Interrupt"]
