"""Which events of a stream are new, the same again, or a second try: told by seq_num and uid."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

_NEAR = 1_000_000  # numbers further ahead of the rest are kept apart, not in the array


class SequenceNumbers:
    """The seq_nums of one stream that have come, each with the event that came last under it.

    Eight bytes an event: a 64-bit hash of its uid. Holes are numbers below the greatest that never came.
    """

    def __init__(self) -> None:
        self._last = array("q")  # [seq_num - 1] -> hash of the uid, 0: none
        self._far: dict[int, int] = {}
        self._replaced: set[tuple[int, int]] = set()
        self.greatest = 0
        self.duplicates = self.superseded = self.reordered = 0
        self._before: tuple[int, ...] = ()
        self._changed: list[tuple[int, int]] = []  # seq_num and what stood there before the last call

    def new_rows(self, seq_nums: Sequence[int], uids: Sequence[str]) -> list[int] | None:
        """Count the events and return the positions of those that are new; None: all of them."""
        count = len(self._last)
        self._before = (count, self.greatest, self.duplicates, self.superseded, self.reordered)
        self._changed = []
        if not self._far and seq_nums[0] == count + 1 and _is_run(seq_nums):
            self._last.extend([hash(uid) or 1 for uid in uids])
            self.greatest = max(self.greatest, count + len(seq_nums))
            return None
        kept = [n for n, pair in enumerate(zip(seq_nums, uids, strict=True)) if self._is_new(*pair)]
        return None if len(kept) == len(seq_nums) else kept

    def take_back(self) -> None:
        """Forget the last call: its events were not written after all."""
        for seq_num, mark in reversed(self._changed):
            self._replaced.discard((seq_num, mark))
            if 0 < seq_num <= len(self._last):
                self._last[seq_num - 1] = mark
            elif mark:
                self._far[seq_num] = mark
            else:
                self._far.pop(seq_num, None)
        count, self.greatest, self.duplicates, self.superseded, self.reordered = self._before
        del self._last[count:]

    def _is_new(self, seq_num: int, uid: str) -> bool:
        mark = hash(uid) or 1
        before = self._at(seq_num)
        if before == mark or (seq_num, mark) in self._replaced:
            self.duplicates += 1
            return False
        if before:
            self.superseded += 1
            self._replaced.add((seq_num, before))
        elif seq_num < self.greatest:
            self.reordered += 1
        self._changed.append((seq_num, before))
        self._put(seq_num, mark)
        self.greatest = max(self.greatest, seq_num)
        return True

    def _at(self, seq_num: int) -> int:
        if 0 < seq_num <= len(self._last):
            return self._last[seq_num - 1]
        return self._far.get(seq_num, 0)

    def _put(self, seq_num: int, mark: int) -> None:
        if not 0 < seq_num <= len(self._last) + _NEAR:
            self._far[seq_num] = mark
            return
        missing = seq_num - len(self._last)
        if missing > 0:
            self._last.extend([0] * missing)
        self._last[seq_num - 1] = mark

    def holes(self, end: int = 0) -> Iterator[tuple[int, int]]:
        """Yield first and last seq_num of each run of numbers, from 1 to ``end`` or the greatest, that never came."""
        top = max(end, self.greatest)
        first = 0
        for number, mark in enumerate(self._last, 1):
            if not mark and not first:
                first = number
            elif mark and first:
                yield first, number - 1
                first = 0
        start = first or len(self._last) + 1
        for number in sorted(n for n in self._far if n > len(self._last)):
            if number > start:
                yield start, number - 1
            start = number + 1
        if start <= top:
            yield start, top


class SeenRanges:
    """The external frames of one file that have come: a datum that comes again is known by uid and place."""

    def __init__(self) -> None:
        self._ends = -1
        self._marks: set[tuple[int, int]] = set()  # only of ranges that did not simply follow
        self._last: array[int] = array("q")  # start, hash of the uid, in pairs, starts rising

    def is_new(self, start: int, stop: int, uid: str) -> bool:
        """Tell whether this range under this uid comes for the first time, and remember it."""
        mark = hash(uid) or 1
        if start >= self._ends:
            self._ends = max(stop, start + 1)
            self._last.extend((start, mark))
            return True
        if (start, mark) in self._marks or self._find(start) == mark:
            return False
        self._marks.add((start, mark))
        return True

    def _find(self, start: int) -> int:
        low, high = 0, len(self._last) // 2
        while low < high:
            middle = (low + high) // 2
            if self._last[2 * middle] < start:
                low = middle + 1
            else:
                high = middle
        found = 2 * low < len(self._last) and self._last[2 * low] == start
        return self._last[2 * low + 1] if found else 0


class CoveredNumbers:
    """Which seq_nums the ranges of one external data key cover: disjoint ranges, half open, rising."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Take the range from ``start`` up to ``stop``, which is not in it."""
        if stop <= start:
            return
        ranges = self._ranges
        at = bisect_left(ranges, (start, start))
        if at and ranges[at - 1][1] >= start:
            at -= 1
            start = ranges[at][0]
        end = at
        while end < len(ranges) and ranges[end][0] <= stop:
            stop = max(stop, ranges[end][1])
            end += 1
        ranges[at:end] = [(start, stop)]

    def holes(self, end: int) -> Iterator[tuple[int, int]]:
        """Yield first and last of each run of numbers from 1 to ``end``, or to the greatest, that no range covers."""
        next_one = 1
        for start, stop in self._ranges:
            if start > next_one:
                yield next_one, start - 1
            next_one = max(next_one, stop)
        if next_one <= end:
            yield next_one, end


def _is_run(numbers: Sequence[int]) -> bool:
    first = numbers[0]
    return len(numbers) == 1 or all(n == first + place for place, n in enumerate(numbers))
