"""Saturation: one of the places where data waits has been stuck for longer than a run may be.

Signals are read, never waited for. A hop that waits and gets on has its wait counted from anew, and a
writer that commits is not stuck however much lies before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gapless.acquire.finding import Finding
from gapless.errors import UsageError
from gapless.model.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Signal:
    """How long one hop has been stuck without a break; 0 when it is not."""

    name: str
    held_s: float
    detail: str = ""


class ProgressSignal:
    """A hop that is stuck while something lies before it and its count of work done stands still."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._done: int | None = None
        self._since_s = clock()

    def read(self, depth: int, done: int, detail: str = "") -> Signal:
        """Take the present depth and count, and return the signal."""
        now_s = self._clock()
        if depth <= 0 or done != self._done:
            self._done, self._since_s = done, now_s
        return Signal(self._name, now_s - self._since_s, detail)


class SaturationMonitor:
    """Trips once when a signal has held for longer than ``deadline_s``; looks every ``poll_s`` seconds.

    Raises UsageError for a deadline or period that is not above 0.
    """

    def __init__(
        self,
        signals: Callable[[], Iterable[Signal]],
        deadline_s: float = 10.0,
        *,
        poll_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for what, seconds in (("deadline_s", deadline_s), ("poll_s", poll_s)):
            if not seconds > 0:
                raise UsageError(f"{what} has no length", found=seconds, expected="seconds above 0")
        self.deadline_s = deadline_s
        self.worst: Signal | None = None
        self.tripped = False
        self._signals = signals
        self._poll_s = poll_s
        self._clock = clock
        self._due_s = clock()

    @property
    def left_s(self) -> float:
        """Seconds until the worst signal would end the run."""
        held_s = self.worst.held_s if self.worst is not None else 0.0
        return max(0.0, self.deadline_s - held_s)

    def poll(self) -> list[Finding]:
        """Look if it is time to; return the one finding in the look that finds the deadline passed."""
        now_s = self._clock()
        if now_s < self._due_s:
            return []
        self._due_s = now_s + self._poll_s
        held = [signal for signal in self._signals() if signal.held_s > 0]
        self.worst = worst = max(held, key=lambda signal: signal.held_s, default=None)
        if worst is None or self.tripped or worst.held_s <= self.deadline_s:
            return []
        self.tripped = True
        return [self._finding(worst)]

    def _finding(self, worst: Signal) -> Finding:
        words = f"{worst.name} took nothing for {worst.held_s:.1f} s; the deadline is {self.deadline_s:g} s"
        if worst.detail:
            words += f": {worst.detail}"
        data = {
            "signal": worst.name,
            "held_s": round(worst.held_s, 3),
            "deadline_s": self.deadline_s,
            "detail": worst.detail,
        }
        return Finding(
            "error", "saturation_deadline", words, worst.name, data, outcome=Outcome.CRASHED_BUT_SEALED
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a live view shows."""
        worst = self.worst
        return {
            "deadline_s": self.deadline_s,
            "worst": worst.name if worst is not None else None,
            "held_s": round(worst.held_s, 3) if worst is not None else 0.0,
            "left_s": round(self.left_s, 3),
        }


__all__ = ["ProgressSignal", "SaturationMonitor", "Signal"]
