"""A thread's loop that some code holds: since when, and which code."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from gapless.acquire.finding import Finding
from gapless.model.outcome import Outcome

CONDUCTOR_BLOCKED = "conductor_blocked"
_STACK_LINES = 20
_LOOK_S = 1.0  # no look counts for more, so that a process that was suspended has not waited


@dataclass(frozen=True)
class Call:
    """One call that a thread is in."""

    function: str
    place: str
    is_own: bool  # code of this package

    def __str__(self) -> str:
        return f"{self.function} ({self.place})"


def stack_of(thread_id: int | None) -> list[Call]:
    """Return the calls that a thread is in, innermost first; no disk is read."""
    frame = sys._current_frames().get(thread_id or 0)
    calls: list[Call] = []
    while frame is not None and len(calls) < _STACK_LINES:
        code = frame.f_code
        place = f"{Path(code.co_filename).name}:{frame.f_lineno}"
        module = str(frame.f_globals.get("__name__", ""))
        calls.append(Call(code.co_qualname, place, module.split(".")[0] == __name__.split(".")[0]))
        frame = frame.f_back
    return calls


def held_by(stack: Sequence[Call]) -> str:
    """Return the innermost call in words, and the call of foreign code by which this package came there."""
    if not stack:
        return "no code"
    foreign = list(takewhile(lambda call: not call.is_own, stack))
    return str(stack[0]) if len(foreign) < 2 else f"{stack[0]}, called by {foreign[-1]}"


class StallMonitor:
    """Finds, once, that a loop has not turned for ``limit_s`` of the time in which this monitor looked.

    ``heartbeat_ns`` is what the loop writes at each turn, ``stack`` tells the calls that it is in.
    ``held_s``: how long the loop has not turned, as far as this monitor looked.
    """

    def __init__(
        self,
        heartbeat_ns: Callable[[], int],
        stack: Callable[[], list[Call]],
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heartbeat_ns = heartbeat_ns
        self._stack = stack
        self._limit_s = limit_s
        self._clock = clock
        self._beat_ns = -1
        self.held_s = 0.0
        self._looked_s = clock()
        self._found = False

    def poll(self) -> list[Finding]:
        """Return the finding in the look that finds the limit passed."""
        now_s, beat_ns = self._clock(), self._heartbeat_ns()
        step_s = min(_LOOK_S, now_s - self._looked_s)
        self.held_s = self.held_s + step_s if beat_ns == self._beat_ns else 0.0
        self._beat_ns, self._looked_s = beat_ns, now_s
        if self._found or self.held_s <= self._limit_s:
            return []
        self._found = True
        return [self._finding()]

    def _finding(self) -> Finding:
        stack = self._stack()
        return Finding(
            "error",
            CONDUCTOR_BLOCKED,
            f"{held_by(stack)} held the conductor for {self.held_s:.1f} s: the run ends without it",
            "conductor",
            {"held_s": round(self.held_s, 3), "stack": [str(call) for call in stack]},
            outcome=Outcome.CRASHED_BUT_SEALED,
        )


__all__ = ["CONDUCTOR_BLOCKED", "Call", "StallMonitor", "held_by", "stack_of"]
