"""The summary of a column of numbers: counts, extremes, mean, deviation and quantiles, in float64.

Every figure is of the finite numbers; NaN, infinities and nulls are counted apart and change nothing else.
Quantiles are those of the numbers themselves, interpolated linearly between neighbours, at any length:
up to 65,536 numbers are kept, above that the column is read again (see :mod:`gapless.model.rank_search`).
The figures depend on the numbers and their order, not on the blocks they come in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gapless.model.rank_search import Floats, RankSearch

QUANTILES: Mapping[str, float] = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
KEPT_VALUES = 65_536

Block = tuple[NDArray[Any], int]


@dataclass(frozen=True)
class Moments:
    """Count, extremes, mean and sum of squared deviations of finite numbers; two of them can be merged."""

    count: int = 0
    min: float = math.nan
    max: float = math.nan
    mean: float = math.nan
    squares: float = math.nan  # sum of (value - mean) ** 2

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Return the moments of finite numbers; squares that exceed float64 are infinite."""
        if not len(values):
            return cls()
        low, high = float(values.min()), float(values.max())
        if low == high:
            return cls(len(values), low, high, low, 0.0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = min(max(float(values.mean()), low), high)
            apart = values - mean
            squares = float(np.square(apart).sum() - apart.sum() ** 2 / len(values))
        return cls(len(values), low, high, mean, squares if not squares < 0 else 0.0)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both (Chan's formula, which does not lose digits to a large mean)."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count,
            min(self.min, other.min),
            max(self.max, other.max),
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart * apart * (self.count * (other.count / count)),
        )

    @property
    def std(self) -> float:
        """The population standard deviation, NaN without numbers."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


class Summary:
    """What a column of numbers looks like; ``add`` its blocks in order, then read the figures.

    Two summaries merge into that of both columns, one after the other. While :attr:`unfinished` is true the
    quantiles need the column again: feed all of it to :meth:`add_again`, call :meth:`advance`, and look
    again; :func:`summarize` does that. Numbers are taken as float64: an integer beyond 2**53 is rounded.
    """

    def __init__(self) -> None:
        self.nan_count = 0
        self.infinite_count = 0
        self.null_count = 0
        self._full = Moments()  # of the blocks that are full
        self._block: Floats = np.empty(0)
        self._filled = 0
        self._search: RankSearch | None = None
        self._again = 0

    def add(self, values: NDArray[Any], null_count: int = 0) -> None:
        """Take the next values of any numeric dtype, bools included, and the nulls that were among them."""
        numbers = np.asarray(values, np.float64).ravel()
        finite = _finite(numbers)
        nans = int(np.isnan(numbers).sum()) if len(finite) < len(numbers) else 0
        self.nan_count += nans
        self.infinite_count += len(numbers) - len(finite) - nans
        self.null_count += null_count
        self._store(finite)

    def merge(self, other: Summary) -> None:
        """Take what the other summary has seen as the rows that follow."""
        self.nan_count += other.nan_count
        self.infinite_count += other.infinite_count
        self.null_count += other.null_count
        if not other._full.count:
            self._store(other._block[: other._filled])
            return
        self._search = None
        self._full = self.moments.merge(other.moments)
        self._filled = 0

    @property
    def moments(self) -> Moments:
        """Count, extremes, mean and deviation of the finite numbers so far."""
        return self._full.merge(Moments.of(self._block[: self._filled]))

    @property
    def unfinished(self) -> bool:
        """True while the quantiles need the column once more."""
        return bool(self._full.count) and (self._search is None or not self._search.done)

    def add_again(self, values: NDArray[Any]) -> None:
        """Take values that were added before, in a further pass over all of them."""
        if self._search is None:
            moments = self.moments
            self._search = RankSearch(_ranks(moments.count), moments.min, moments.max)
            self._again = 0
        finite = _finite(np.asarray(values, np.float64).ravel())
        self._again += len(finite)
        self._search.add(finite)

    def advance(self) -> None:
        """End a further pass; raises ValueError if it did not have as many numbers as were added."""
        count = self.moments.count
        if self._search is None or self._again != count:
            raise ValueError(f"a further pass had {self._again} numbers, and {count} were added")
        self._again = 0
        self._search.advance()

    def quantile(self, fraction: float) -> float:
        """Return one of :data:`QUANTILES`, NaN without numbers; raises ValueError while it is unknown."""
        count = self.moments.count
        if not count:
            return math.nan
        if self.unfinished:
            raise ValueError("the quantiles of a long column need further passes over it")
        if self._search is not None:
            return interpolated(self._search.found.__getitem__, count, fraction)
        ordered = np.partition(self._block[:count], neighbours(count, fraction)[:2])
        return interpolated(lambda rank: float(ordered[rank]), count, fraction)

    def figures(self) -> dict[str, float | int]:
        """Return all counts and figures by name; without finite numbers the figures are NaN."""
        moments = self.moments
        return {
            "count": moments.count,
            "nan_count": self.nan_count,
            "infinite_count": self.infinite_count,
            "null_count": self.null_count,
            "min": moments.min,
            "max": moments.max,
            "mean": moments.mean,
            "std": moments.std,
            **{name: self.quantile(fraction) for name, fraction in QUANTILES.items()},
        }

    def _store(self, finite: Floats) -> None:
        taken = 0
        self._search = None
        while taken < len(finite):
            if self._filled == KEPT_VALUES:
                self._full = self._full.merge(Moments.of(self._block))
                self._filled = 0
            if not len(self._block):
                self._block = np.empty(KEPT_VALUES)
            piece = finite[taken : taken + KEPT_VALUES - self._filled]
            self._block[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            taken += len(piece)


def summarize(read: Callable[[], Iterable[Mapping[str, Block]]]) -> dict[str, Summary]:
    """Return the summary of each column of a table that can be read more than once.

    ``read()`` begins anew and yields blocks: column name to the values that are there and the count of
    nulls. It is called once, and again while the quantiles of a column of more than 65,536 rows need it.
    """
    summaries: dict[str, Summary] = {}
    for block in read():
        for name, (values, null_count) in block.items():
            summaries.setdefault(name, Summary()).add(values, null_count)
    while open_ones := {name: s for name, s in summaries.items() if s.unfinished}:
        for block in read():
            for name, summary in open_ones.items():
                summary.add_again(block[name][0])
        for summary in open_ones.values():
            summary.advance()
    return summaries


def interpolated(number_at: Callable[[int], float], count: int, fraction: float) -> float:
    """Return a quantile of ``count`` numbers: linear between those at the two ranks beside it."""
    low, high, weight = neighbours(count, fraction)
    first, second = number_at(low), number_at(high)
    return first if first == second else first * (1.0 - weight) + second * weight


def neighbours(count: int, fraction: float) -> tuple[int, int, float]:
    """Return the ranks on both sides of a quantile, and how far it is from the lower to the upper one."""
    place = fraction * (count - 1)
    low = min(int(place), count - 1)
    return low, min(low + 1, count - 1), place - low


def _ranks(count: int) -> list[int]:
    return [rank for fraction in QUANTILES.values() for rank in neighbours(count, fraction)[:2]]


def _finite(numbers: Floats) -> Floats:
    good = np.isfinite(numbers)
    return numbers if good.all() else numbers[good]
