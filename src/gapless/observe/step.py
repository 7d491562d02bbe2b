"""What a stepping simulation tells its observer: which step, at which time, in which phase."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The two halves of a hook: first every source is read, then what was read is handed over."""

    ACQUIRE = "acquire"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class StepContext:
    """One phase of one step. ``time_ns``: simulation time; None in real time, where the clock decides."""

    step: int
    phase: Phase
    time_ns: int | None = None
