"""One topic while its sequence is open: how many rows arrived, and how many of them are durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gapless.store.declaration import TopicDeclaration
from gapless.store.lane import GeneralLane, PackedLane
from gapless.store.packing import Layout


@dataclass
class TopicState:
    """The counters of one topic; the writer thread moves them, everybody may read them."""

    declaration: TopicDeclaration
    layout: Layout | None
    lanes: list[PackedLane | GeneralLane] = field(default_factory=list)
    next_seq: int = 0  # arrival number of the next row
    dropped: int = 0
    lost: int = 0  # rows of an adopted journal that damage took
    gapped: int = 0  # messages that a producer itself declared missing
    durable_seq: int = 0
    durable_dropped: int = 0
    internal_rows: int = 0
    callback_error: BaseException | None = None
    on_durable: list[Callable[[int], None]] = field(default_factory=list)

    @property
    def durable_rows(self) -> int:
        """Rows that are on the disk and synced."""
        return self.durable_seq - self.durable_dropped - self.lost

    @property
    def offered_rows(self) -> int:
        """Rows that producers handed to this process's lanes, or that were in the journal before them."""
        return self.internal_rows + sum(lane.offered_rows for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the disk is behind the producers at one moment.

    ``headroom_bytes`` may be pushed now without waiting; ``waiting_rows`` were pushed and are not durable;
    ``turn_age_ns`` is how long ago the writer thread last finished a turn, which it does at least every
    flush window unless the disk holds it.
    """

    headroom_bytes: int
    waiting_rows: int
    turn_age_ns: int

    @property
    def idle(self) -> bool:
        """Whether everything offered is durable."""
        return self.waiting_rows <= 0
