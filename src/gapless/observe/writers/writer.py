"""What every writer of an episode can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gapless.client.sequence_writer import SequenceWriter


@dataclass(slots=True)
class Instant:
    """When a row is: nominal time, true time of capture, and the bits of what is special. Reused."""

    time_ns: int = 0
    captured_ns: int = 0
    flags: int = 0


class Writer(Protocol):
    """Opened once for each episode; a failure reaches the caller at the next call at the latest."""

    topic: str

    def open(self, sequence: SequenceWriter) -> None:
        """Make the topics in a new episode."""
        ...

    def append(self, instant: Instant) -> None:
        """Write what its source read last; the source may then read again."""
        ...

    def gap(self, count: int | None, cause: str, start_ns: int, end_ns: int) -> None:
        """Record that ticks are missing, or (count None) that there were none."""
        ...
