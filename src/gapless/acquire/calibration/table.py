"""Curves over an interval: a table read between its points, and polynomials that meet.

Outside its interval such a curve gives its end value and says so: BELOW_RANGE or ABOVE_RANGE, and CLAMPED.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gapless.acquire.calibration.curve import Curve, Floats, Statuses, derivative, finite, horner
from gapless.acquire.emission import SampleStatus
from gapless.errors import RigRefused

BELOW = int(SampleStatus.BELOW_RANGE | SampleStatus.CLAMPED)
ABOVE = int(SampleStatus.ABOVE_RANGE | SampleStatus.CLAMPED)


def _ascending(numbers: list[float], what: str) -> None:
    """Raise RigRefused for numbers that do not strictly rise; such a table has no one value."""
    for before, after in pairwise(numbers):
        if after == before:
            raise RigRefused(f"{what} has one raw value twice", found=after)
        if after < before:
            raise RigRefused(f"{what} is not sorted by raw value", found=f"{after} after {before}")


def _clamped(x: Floats, low: float, high: float) -> Statuses:
    return np.where(x < low, BELOW, np.where(x > high, ABOVE, 0)).astype(np.int8)


class Lookup(Curve):
    """A table of (raw, calibrated), rising in raw, with straight lines between its points."""

    def __init__(self, table: Sequence[tuple[float, float]], unit: str | None = None) -> None:
        super().__init__(unit)
        if len(table) < 2:
            raise RigRefused("a table needs at least two points", found=len(table))
        self.x = finite([x for x, _ in table], "a table")
        self.y = finite([y for _, y in table], "a table")
        _ascending(self.x, "a table")
        corners = list(zip(self.x, self.y, strict=True))
        gains = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(corners)]
        # The last point begins a segment of its own, so that it is met exactly.
        gains = finite([*gains, gains[-1]], "a slope of a table")
        self._arrays = np.array(self.x), np.array(self.y), np.array(gains)
        self._compile(gains)

    def _compile(self, gains: list[float]) -> None:
        xs, ys, low, high, first, last = self.x, self.y, self.x[0], self.x[-1], self.y[0], self.y[-1]

        def value(x: float) -> tuple[float, int]:
            if low <= x <= high:
                n = bisect_right(xs, x) - 1
                return ys[n] + gains[n] * (x - xs[n]), 0
            if x < low:
                return first, BELOW
            return (last, ABOVE) if x > high else (x, 0)  # the rest is NaN

        def slope(x: float) -> float:
            return gains[bisect_right(xs, x) - 1] if low <= x <= high else 0.0

        self.value, self.slope = value, slope

    def _segments(self, x: Floats) -> tuple[Floats, np.ndarray[Any, np.dtype[np.intp]]]:
        inside = np.clip(x, self.x[0], self.x[-1])
        return inside, np.minimum(np.searchsorted(self._arrays[0], inside, "right"), len(self.x)) - 1

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the calibrated values; outside the table its ends, flagged."""
        inside, n = self._segments(x)
        xs, ys, gains = self._arrays
        return ys[n] + gains[n] * (inside - xs[n]), _clamped(x, self.x[0], self.x[-1])

    def slopes(self, x: Floats) -> Floats:
        """Return the rise of each value's segment, 0 outside the table."""
        _, n = self._segments(x)
        outside = ~((x >= self.x[0]) & (x <= self.x[-1]))
        return np.where(outside, 0.0, self._arrays[2][n])

    def to_json(self) -> dict[str, Any]:
        """Return the table and the unit."""
        table = [[x, y] for x, y in zip(self.x, self.y, strict=True)]
        return {"kind": "lookup", "table": table, "unit": self.unit}


class Piecewise(Curve):
    """Polynomials over adjoining intervals of the raw value: piece k holds from ``breaks[k]`` to the next.

    Where two pieces meet they may differ by ``tolerance`` in the curve's unit; None: 1e-9 of the value.
    """

    def __init__(
        self,
        breaks: Sequence[float],
        pieces: Sequence[Sequence[float]],
        tolerance: float | None = None,
        unit: str | None = None,
    ) -> None:
        super().__init__(unit)
        self.breaks = finite(breaks, "a piecewise curve")
        self.pieces = [finite(piece, "a piece of a curve") for piece in pieces]
        self.tolerance = tolerance
        if len(self.breaks) != len(self.pieces) + 1 or not self.pieces:
            raise RigRefused(
                "a piecewise curve has one break more than pieces",
                found=f"{len(self.breaks)} breaks, {len(self.pieces)} pieces",
            )
        _ascending(self.breaks, "a piecewise curve")
        self._polynomials = [horner(piece) for piece in self.pieces]
        self._check_continuous()
        self._compile()
        width = max(map(len, self.pieces))
        self._matrix = np.array([p + [0.0] * (width - len(p)) for p in self.pieces])
        slopes = [derivative(p) for p in self.pieces]
        self._slopes = np.array([s + [0.0] * (width - len(s)) for s in slopes])

    def _check_continuous(self) -> None:
        polynomials = self._polynomials
        for x, left, right in zip(self.breaks[1:], polynomials, polynomials[1:], strict=False):
            jump = abs(right(x) - left(x))
            allowed = 1e-9 * max(1.0, abs(left(x))) if self.tolerance is None else self.tolerance
            if not jump <= allowed:
                raise RigRefused(
                    f"a piecewise curve jumps at {x}",
                    found=f"from {left(x)} to {right(x)}",
                    expected=f"at most {allowed:g} apart",
                    next_step="mend the coefficients, or declare a tolerance",
                )

    def _compile(self) -> None:
        breaks, low, high, last = self.breaks, self.breaks[0], self.breaks[-1], len(self.pieces) - 1
        polynomials, slopes = self._polynomials, [horner(derivative(piece)) for piece in self.pieces]
        bottom, top = polynomials[0](low), polynomials[last](high)

        def value(x: float) -> tuple[float, int]:
            if low <= x <= high:
                return polynomials[min(bisect_right(breaks, x) - 1, last)](x), 0
            if x < low:
                return bottom, BELOW
            return (top, ABOVE) if x > high else (x, 0)  # the rest is NaN

        def slope(x: float) -> float:
            return slopes[min(bisect_right(breaks, x) - 1, last)](x) if low <= x <= high else 0.0

        self.value, self.slope = value, slope

    def _horner(self, matrix: Floats, x: Floats) -> Floats:
        n = np.clip(np.searchsorted(np.array(self.breaks), x, "right") - 1, 0, len(self.pieces) - 1)
        y = np.zeros(len(x))
        for column in reversed(range(matrix.shape[1])):
            y = y * x + matrix[n, column]
        return y

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the calibrated values; outside the intervals the end values, flagged."""
        low, high = self.breaks[0], self.breaks[-1]
        return self._horner(self._matrix, np.clip(x, low, high)), _clamped(x, low, high)

    def slopes(self, x: Floats) -> Floats:
        """Return the derivative of each value's piece, 0 outside."""
        low, high = self.breaks[0], self.breaks[-1]
        outside = ~((x >= low) & (x <= high))
        return np.where(outside, 0.0, self._horner(self._slopes, np.clip(x, low, high)))

    def to_json(self) -> dict[str, Any]:
        """Return breaks, pieces, tolerance and unit."""
        return {
            "kind": "piecewise",
            "breaks": self.breaks,
            "pieces": self.pieces,
            "tolerance": self.tolerance,
            "unit": self.unit,
        }
