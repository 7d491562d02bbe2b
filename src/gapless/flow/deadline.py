"""Bounds on waiting, on a clock that can be replaced: a point in time, and a condition that lasts too long."""

from __future__ import annotations

import time
from collections.abc import Callable

from gapless.errors import UsageError


def _positive(seconds: float, what: str) -> float:
    if not seconds > 0:
        raise UsageError(f"{what} has no length", found=seconds, expected="seconds above 0")
    return seconds


class Deadline:
    """A point in time, ``seconds`` from now. Raises UsageError unless that is above 0."""

    __slots__ = ("_clock", "_end", "seconds")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = _positive(seconds, "a deadline")
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, 0 once it has passed."""
        return max(0.0, self._end - self._clock())

    @property
    def passed(self) -> bool:
        """True from the deadline on."""
        return self._clock() >= self._end

    def restart(self) -> None:
        """Put the deadline ``seconds`` from now again."""
        self._end = self._clock() + self.seconds


class HeldCondition:
    """Tells once when a condition has held without a break for longer than ``limit_s``.

    It can tell again after the condition was false in between. Raises UsageError unless the limit is above 0.
    """

    __slots__ = ("_clock", "_since", "_told", "limit_s")

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit_s = _positive(limit_s, "the limit of a condition")
        self._clock = clock
        self._since: float | None = None
        self._told = False

    @property
    def held_s(self) -> float:
        """Seconds since the condition became true, 0 while it is false."""
        return 0.0 if self._since is None else self._clock() - self._since

    def update(self, state: bool) -> bool:
        """Take the condition's present state; return True in the one call that finds the limit passed."""
        if not state:
            self._since, self._told = None, False
            return False
        if self._since is None:
            self._since = self._clock()
        if self._told or self.held_s <= self.limit_s:
            return False
        self._told = True
        return True
