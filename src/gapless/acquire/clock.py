"""One clock per run: every device, event and command of a run is stamped by it."""

from __future__ import annotations

import time
from typing import Protocol

from gapless.store.platform import PLATFORM


class RunClock(Protocol):
    """Stamps that never step, and the wall clock for people."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 that never step while the run lasts: the join key."""

    def utc_ns(self) -> int:
        """Return the wall clock, which may step."""


class HostClock:
    """The wall time at the start plus boot-time monotonic time since.

    ``base_ns`` (an open sequence's ``clock_base_ns``) makes it the sequence's own clock; without it, as
    between runs, the wall time is that of now. It works whatever becomes of the sequence.
    """

    def __init__(self, base_ns: int | None = None) -> None:
        self._base_ns = time.time_ns() - PLATFORM.boot_ns() if base_ns is None else base_ns
        self.utc_ns = time.time_ns

    def now_ns(self) -> int:
        """Return nanoseconds since 1970 that never step."""
        return self._base_ns + PLATFORM.boot_ns()


class SimulatedClock:
    """A clock that a simulated source moves: the same run gives the same stamps every time."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the simulated time."""
        return self._now_ns

    def utc_ns(self) -> int:
        """Return the simulated time too: a wall clock would differ from run to run."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to a later time; an earlier one changes nothing."""
        self._now_ns = max(self._now_ns, now_ns)
