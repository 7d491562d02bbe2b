"""How long a call waits until another one has done with the same recording."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from gapless.errors import LimitReached

BUSY_S: Final = 30.0  # for whatever takes a moment on a disk that is there
END_S: Final = 600.0  # for a seal: whoever asks for an end again wants the answer of the first time
_LOOK_S: Final = 0.2


def await_turn(
    take: Callable[[float], bool], gone: Callable[[], bool], patience_s: float, sequence: str
) -> None:
    """Return when ``take(timeout_s)`` has returned True.

    Raises LimitReached when the time is over, or nobody waits for the answer any more: a recording whose disk
    hangs must not hold one thread after the other until the server has none for anybody.
    """
    until_s = time.monotonic() + patience_s
    while not take(_LOOK_S):
        if gone() or time.monotonic() > until_s:
            raise LimitReached(
                "another call works on the recording",
                sequence=sequence,
                expected=f"a turn within {patience_s:g} s",
                next_step="try again when that one has ended",
            )
