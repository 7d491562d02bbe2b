"""What a monitor finds while a run lasts: a fact for the events, and perhaps the end of the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gapless.model.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact. ``outcome`` None: an event, the run goes on; else the run ends so, after safe state.

    ``timestamp_ns`` is the run's clock where the fact has a moment of its own, None for now.
    """

    severity: str
    kind: str
    message: str
    source: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None
    timestamp_ns: int | None = None

    @property
    def ends_run(self) -> bool:
        """Whether the run ends because of it."""
        return self.outcome is not None


class Monitor(Protocol):
    """Is asked several times a second, always from the supervisor's thread."""

    def poll(self) -> Iterable[Finding]:
        """Return what is new since the last call; must not wait."""
