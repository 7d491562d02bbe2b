"""The nominal times of rows: ticks of a rational rate, in integer nanoseconds, without drift."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick that is due: its nominal time, and how many ticks before it came too late to be recorded."""

    time_ns: int
    missed: int
    first_missed_ns: int


class Grid:
    """Tick k lies at ``origin + k / rate``, rounded down to whole nanoseconds."""

    def __init__(self, rate: Fraction) -> None:
        self.rate = rate
        self.origin_ns: int | None = None
        self.taken = 0  # ticks since the origin that are past, recorded or missed

    def start(self, origin_ns: int) -> None:
        """Begin to count at this time, which is the first tick."""
        self.origin_ns, self.taken = origin_ns, 0

    def time_of(self, tick: int) -> int:
        """Return the nominal time of a tick."""
        assert self.origin_ns is not None
        return self.origin_ns + tick * _NS * self.rate.denominator // self.rate.numerator

    def take(self, now_ns: int) -> Tick | None:
        """Return the newest tick that is due at this time, None if none is."""
        if now_ns < self.time_of(self.taken):
            return None
        assert self.origin_ns is not None
        # the greatest k with k * den * 1e9 // num <= elapsed
        elapsed = now_ns - self.origin_ns
        newest = ((elapsed + 1) * self.rate.numerator - 1) // (_NS * self.rate.denominator)
        first, self.taken = self.taken, newest + 1
        return Tick(self.time_of(newest), newest - first, self.time_of(first))
