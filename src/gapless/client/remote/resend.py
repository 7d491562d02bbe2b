"""What was taken from a topic's lanes and is not accepted yet: kept, in order, to be sent again after a cut."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from gapless.client.remote.lane_parcel import Parcel
from gapless.errors import StateError


class Unaccepted:
    """Parcels in order of their arrival numbers. One thread adds and sends, another takes away what is accepted."""

    def __init__(self, sequence: str, topic: str) -> None:
        self._sequence = sequence
        self._topic = topic
        self._lock = threading.Lock()
        self._parcels: deque[Parcel] = deque()
        self._sent = 0  # how many of them are on the way already
        self.size_bytes = 0
        self.accepted_seq = 0
        self.accepted_dropped = 0

    def __len__(self) -> int:
        return len(self._parcels)

    def add(self, parcel: Parcel) -> None:
        """Keep a parcel whose arrival numbers follow the last one's."""
        with self._lock:
            self._parcels.append(parcel)
            self.size_bytes += parcel.size_bytes

    def attach(self, tell: Callable[[], None]) -> bool:
        """Call ``tell`` when the last parcel is accepted; return False where nothing waits."""
        with self._lock:
            if self._parcels:
                self._parcels[-1].on_accepted.append(tell)
            return bool(self._parcels)

    def next_unsent(self) -> Parcel | None:
        """Return the first parcel that is not on the way, and count it as sent."""
        with self._lock:
            if self._sent >= len(self._parcels):
                return None
            parcel = self._parcels[self._sent]
            self._sent += 1
            return parcel

    @property
    def has_unsent(self) -> bool:
        """Whether a parcel waits to be sent."""
        return self._sent < len(self._parcels)

    def begin_again(self, next_seq: int) -> Parcel | None:
        """Take up at a receiver that has every row below ``next_seq``; return the parcel it has a part of.

        Raises StateError where the receiver does not have what it accepted, or has what was never sent.
        """
        with self._lock:
            end = self._parcels[-1].end_seq if self._parcels else self.accepted_seq
            if not self.accepted_seq <= next_seq <= end:
                raise StateError(
                    "the server's rows are not those that it was sent",
                    sequence=self._sequence,
                    topic=self._topic,
                    found=f"next row {next_seq}",
                    expected=f"{self.accepted_seq} to {end}",
                    next_step="look on the server whether its store was put back or written by another",
                )
            self._sent = sum(1 for parcel in self._parcels if parcel.end_seq <= next_seq)
            cut = self._parcels[self._sent] if self._sent < len(self._parcels) else None
            if cut is None or cut.first_seq >= next_seq:
                return None
            self._sent += 1
            return cut.after(next_seq)

    def accept(self, seq: int) -> list[Parcel]:
        """Take away what ends at or below ``seq`` and return it."""
        done: list[Parcel] = []
        with self._lock:
            while self._parcels and self._parcels[0].end_seq <= seq:
                parcel = self._parcels.popleft()
                self._sent = max(0, self._sent - 1)
                self.size_bytes -= parcel.size_bytes
                self.accepted_seq = parcel.end_seq
                if parcel.batch is None:
                    self.accepted_dropped += parcel.rows
                done.append(parcel)
            first = self._parcels[0] if self._parcels else None
            if first is not None and first.batch is not None and first.first_seq < seq:
                self.accepted_seq = seq
        return done
