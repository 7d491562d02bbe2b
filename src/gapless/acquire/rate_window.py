"""How often something happens: counted over a stretch of time that is longer than its bursts."""

from __future__ import annotations

import threading
from collections import deque

WINDOW_S = 10.0
_STEP_S = 1.0


class RateWindow:
    """The rate of one count over the last ten seconds, or since it was last zero where that is less.

    A camera gives its pictures a group at a time: counted second by second it would stand still between two
    groups.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque()  # one a second, the oldest just beyond the window
        self._rate_hz: float | None = None
        self._lock = threading.Lock()  # any thread may ask for a run's status

    def tell(self, now_s: float, count: int) -> float | None:
        """Take the count of now and return the rate in Hz; None before it has moved for a second.

        ``now_s``: of a monotonic clock.
        """
        with self._lock:
            if not count:
                self._told = deque([(now_s, 0)])
            elif not self._told:
                self._told.append((now_s, count))
            elif now_s - self._told[-1][0] >= _STEP_S:
                self._told.append((now_s, count))
                while now_s - self._told[1][0] >= WINDOW_S:
                    self._told.popleft()
                since_s, before = self._told[0]
                self._rate_hz = round((count - before) / (now_s - since_s), 2)
            return self._rate_hz


__all__ = ["WINDOW_S", "RateWindow"]
