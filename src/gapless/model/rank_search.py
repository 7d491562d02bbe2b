"""Rank search: the exact k-th smallest of more numbers than fit in memory, by reading them a few times.

A float64 has an integer key that sorts like it. Each pass counts keys in a histogram around every wanted
rank, and the next pass looks only at the bin the rank is in, until a bin has one value or few enough to keep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]

_BINS = 65_536  # of all intervals together: 512 KiB
_SIGN = np.uint64(1 << 63)


class RankSearch:
    """Finds the numbers at the ``ranks`` (0-based, ascending order) of a stream that is read again and again.

    Each pass is any number of :meth:`add` with the same finite numbers, then :meth:`advance`; three passes
    find ranks of about a million numbers, six those of any. Memory is bounded by about 1.5 MB.
    """

    def __init__(self, ranks: Iterable[int], low: float, high: float) -> None:
        wanted = sorted(set(ranks))
        self.found: dict[int, float] = {}
        self._intervals = [_Interval(*_key_bounds(low, high), below=0, ranks=wanted)] if wanted else []
        self._share()

    @property
    def done(self) -> bool:
        """True when every rank is found: no further pass is needed."""
        return not self._intervals

    def add(self, values: Floats) -> None:
        """Take the next finite numbers of this pass."""
        keys = _keys_of(values)
        for interval in self._intervals:
            interval.add(keys)

    def advance(self) -> None:
        """End the pass: rank by rank, keep what was found and narrow what was not."""
        narrowed = []
        for interval in self._intervals:
            self.found |= interval.solved()
            narrowed += [] if interval.is_solved else interval.narrowed()
        self._intervals = narrowed
        self._share()

    def _share(self) -> None:
        for interval in self._intervals:
            interval.prepare(_BINS // len(self._intervals))


@dataclass
class _Interval:
    """The keys ``low <= key <= high`` that hold the ``ranks``, and what one pass learns of them."""

    low: int
    high: int
    below: int  # how many numbers are smaller than all of these
    ranks: list[int]
    size: int | None = None  # how many numbers these are, None while unknown
    _shift: int = 0
    _counts: NDArray[np.int64] | None = None
    _kept: list[Keys] = field(default_factory=list)
    _least: int = 2**64
    _greatest: int = -1

    def prepare(self, share: int) -> None:
        """Choose for the next pass: keep the numbers if they are at most ``share``, else count them in bins."""
        if self.size is not None and self.size <= share:
            return
        while (self.high - self.low) >> self._shift >= share:
            self._shift += 1
        self._counts = np.zeros(((self.high - self.low) >> self._shift) + 1, np.int64)

    def add(self, keys: Keys) -> None:
        mine = keys[(keys >= np.uint64(self.low)) & (keys <= np.uint64(self.high))]
        if not len(mine):
            return
        self._least = min(self._least, int(mine.min()))
        self._greatest = max(self._greatest, int(mine.max()))
        if self._counts is None:
            self._kept.append(mine)
            return
        bins = ((mine - np.uint64(self.low)) >> np.uint64(self._shift)).astype(np.intp)
        self._counts += np.bincount(bins, minlength=len(self._counts))

    @property
    def is_solved(self) -> bool:
        return self._counts is None or self._least == self._greatest

    def solved(self) -> dict[int, float]:
        """Return the number of each rank, as far as this pass has decided it."""
        if not self.is_solved:
            return {}
        if self._counts is not None:
            return dict.fromkeys(self.ranks, _value_of(self._least))
        ordered = np.sort(np.concatenate(self._kept))
        return {rank: _value_of(int(ordered[rank - self.below])) for rank in self.ranks}

    def narrowed(self) -> list[_Interval]:
        """Return the bins that hold the ranks."""
        assert self._counts is not None
        ends = self.below + np.cumsum(self._counts)
        bins: dict[int, _Interval] = {}
        for rank in self.ranks:
            place = int(np.searchsorted(ends, rank, "right"))
            if place not in bins:
                low = self.low + (place << self._shift)
                bins[place] = _Interval(
                    low=max(low, self._least),
                    high=min(low + (1 << self._shift) - 1, self._greatest),
                    below=int(ends[place] - self._counts[place]),
                    ranks=[],
                    size=int(self._counts[place]),
                )
            bins[place].ranks.append(rank)
        return list(bins.values())


def _keys_of(values: Floats) -> Keys:
    bits = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0: one number, one key
    negative = (bits & _SIGN) != 0
    keys: Keys = np.where(negative, ~bits, bits | _SIGN)
    return keys


def _value_of(key: int) -> float:
    bits = key ^ (1 << 63) if key >> 63 else key ^ (2**64 - 1)
    return float(np.uint64(bits).view(np.float64))


def _key_bounds(low: float, high: float) -> tuple[int, int]:
    keys: Any = _keys_of(np.array([low, high], np.float64))
    return int(keys[0]), int(keys[1])
