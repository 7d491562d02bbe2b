"""Which frame of which resource belongs to which event: ranges of seq_nums over ranges of indices."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames that follow each other in one resource, for events that follow each other."""

    resource: int
    index_start: int
    index_stop: int
    seq_start: int
    seq_stop: int

    def __len__(self) -> int:
        """Return the number of frames that belong to an event."""
        return max(min(self.index_stop - self.index_start, self.seq_stop - self.seq_start), 0)

    def part(self, start: int, stop: int) -> FrameRange:
        """Return the events ``[start, stop)`` of the range, counted from its first."""
        return FrameRange(
            self.resource,
            self.index_start + start,
            self.index_start + stop,
            self.seq_start + start,
            self.seq_start + stop,
        )

    def continues(self, before: FrameRange) -> bool:
        """Tell whether it goes on where another ends."""
        return (before.resource, before.index_stop, before.seq_stop) == (
            self.resource,
            self.index_start,
            self.seq_start,
        )


class FrameMap:
    """The frames of one data key by seq_num; a range that comes later replaces what an earlier one had.

    Memory grows with the number of interruptions, not of frames: ranges that follow each other are one.
    """

    def __init__(self) -> None:
        self._ranges: list[FrameRange] = []  # disjoint, rising seq_nums
        self._starts: list[int] = []

    def add(self, taken: FrameRange) -> None:
        """Take the next range, in order of arrival."""
        taken = taken.part(0, len(taken))
        if not len(taken):
            return
        if self._ranges and taken.continues(self._ranges[-1]):
            last = self._ranges[-1]
            self._ranges[-1] = replace(last, index_stop=taken.index_stop, seq_stop=taken.seq_stop)
        elif not self._ranges or taken.seq_start >= self._ranges[-1].seq_stop:
            self._ranges.append(taken)
            self._starts.append(taken.seq_start)
        else:
            self._replace(taken)

    def _replace(self, taken: FrameRange) -> None:
        low = bisect_left(self._starts, taken.seq_start)
        if low and self._ranges[low - 1].seq_stop > taken.seq_start:
            low -= 1
        high = bisect_left(self._starts, taken.seq_stop)
        kept = [taken]
        for old in self._ranges[low:high]:
            if old.seq_start < taken.seq_start:
                kept.append(old.part(0, taken.seq_start - old.seq_start))
            if old.seq_stop > taken.seq_stop:
                kept.append(old.part(taken.seq_stop - old.seq_start, len(old)))
        kept.sort(key=lambda one: one.seq_start)
        self._ranges[low:high] = kept
        self._starts[low:high] = [one.seq_start for one in kept]

    def __len__(self) -> int:
        """Return the number of events that have a frame."""
        return sum(map(len, self._ranges))

    def seq_nums(self) -> NDArray[np.int64]:
        """Return the seq_nums that have a frame, rising."""
        parts = [np.arange(one.seq_start, one.seq_stop, dtype=np.int64) for one in self._ranges]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def pieces(self, places: range) -> Iterator[FrameRange]:
        """Yield the frames of some events, given by their places among those that have one."""
        yield from pieces_of(self._ranges, places)


def pieces_of(ranges: list[FrameRange], places: range) -> Iterator[FrameRange]:
    """Yield the parts of the ranges that hold the given places, counted through all ranges."""
    if not places:
        return
    ends = np.cumsum([len(one) for one in ranges])
    runs = [places] if places.step == 1 else [range(place, place + 1) for place in places]
    for run in runs:
        here = int(np.searchsorted(ends, run.start, "right"))
        at = run.start
        while at < run.stop:
            before = int(ends[here - 1]) if here else 0
            stop = min(run.stop, int(ends[here]))
            if stop > at:
                yield ranges[here].part(at - before, stop - before)
            at, here = stop, here + 1
