"""How a run ends: one latch that every thread may propose to, and what the caller gets at the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from gapless.model.outcome import Outcome

_PROVISIONAL = (Outcome.COMPLETED, Outcome.ABORTED)
EXIT_CODES = {
    Outcome.COMPLETED: 0,
    Outcome.ABORTED: 130,
    Outcome.FAILED: 1,
    Outcome.INTERRUPTED: 1,
    Outcome.CRASHED: 1,
    Outcome.CRASHED_BUT_SEALED: 6,
}
EXIT_UNSAFE = 7
EXIT_PREFLIGHT = 5


class OutcomeLatch:
    """Completed and aborted are provisional until the seal: a fault replaces them. Among faults the first wins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frozen = False
        self.outcome: Outcome | None = None
        self.cause: str | None = None
        self.error: BaseException | None = None

    def propose(self, outcome: Outcome, cause: str | None = None, error: BaseException | None = None) -> bool:
        """Propose how the run ended; return whether that is now its outcome."""
        with self._lock:
            known = self.outcome
            replaces = known is None or (known in _PROVISIONAL and outcome not in _PROVISIONAL)
            if self._frozen or not replaces:
                return False
            self.outcome, self.cause, self.error = outcome, cause, error
            return True

    def freeze(self) -> tuple[Outcome, str | None]:
        """Return the outcome for the seal; nothing changes it from now on."""
        with self._lock:
            self._frozen = True
            self.outcome = self.outcome or Outcome.COMPLETED
            return self.outcome, self.cause


@dataclass
class RunResult:
    """What became of a run. ``sealed`` is False when the sequence waits for ``gapless recover``."""

    sequence: str
    outcome: Outcome
    cause: str | None
    sealed: bool
    content_digest: str | None
    exit_code: int
    unsafe_devices: list[str] = field(default_factory=list)
    safe_report: dict[str, Any] | None = None
    unwritten_events: list[dict[str, Any]] = field(default_factory=list)
    error: BaseException | None = None


def exit_code_of(outcome: Outcome, *, sealed: bool, unsafe: bool, preflight: bool) -> int:
    """Return the exit code of a run: an unsafe device is told before everything else."""
    if unsafe:
        return EXIT_UNSAFE
    if preflight:
        return EXIT_PREFLIGHT
    if not sealed:
        return 1
    return EXIT_CODES[outcome]
