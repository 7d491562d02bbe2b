"""Uncertainty of a calibrated value and of what is derived from several, to first order.

Everything here is a standard uncertainty: what was declared at a coverage factor k is divided by k. The
first order is exact for straight curves and good where the curve hardly bends within the noise; at a point
without slope (x² at 0) it says 0, which is too little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gapless.acquire.calibration.curve import Curve, Floats

Spread = Callable[[float, float], float]  # of raw and calibrated value


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Sources of one channel, each a variance at coverage factor 1, added in quadrature.

    ``absolute`` in the channel's unit, ``relative`` of its value, ``input_noise`` in the raw unit.
    """

    absolute: float = 0.0
    relative: float = 0.0
    input_noise: float = 0.0

    @classmethod
    def of(cls, sources: Sequence[tuple[str, float, float]]) -> Uncertainty:
        """Return the sum of sources given as (kind, magnitude, coverage factor)."""
        variances = {"absolute": 0.0, "relative": 0.0, "input_noise": 0.0}
        for kind, magnitude, coverage_factor in sources:
            variances[kind] += (magnitude / coverage_factor) ** 2
        return cls(**variances)

    def through(self, curve: Curve) -> Spread:
        """Return the standard uncertainty as a function of raw and calibrated value, compiled."""
        absolute, relative, noise = self.absolute, self.relative, self.input_noise
        slope, root = curve.slope, math.sqrt
        if not relative and not noise:
            constant = root(absolute)
            return lambda _x, _y: constant

        def spread(x: float, y: float) -> float:
            gain = slope(x) if noise else 0.0
            return root(absolute + relative * (y * y) + noise * (gain * gain))

        return spread

    def through_all(self, curve: Curve, x: Floats, y: Floats) -> Floats:
        """Return the standard uncertainty of each value."""
        gain = curve.slopes(x) if self.input_noise else np.zeros(len(x))
        return np.sqrt(self.absolute + self.relative * (y * y) + self.input_noise * (gain * gain))


def combined(parts: Sequence[float], correlation: float = 0.0) -> float:
    """Return the standard uncertainty of a result from its parts ``df/dx[i] * u[i]``, signs kept.

    ``correlation``: the coefficient between any two inputs.
    """
    squares, total = sum(part * part for part in parts), sum(parts)
    return math.sqrt(max(0.0, (1.0 - correlation) * squares + correlation * (total * total)))


def combined_all(parts: Sequence[Floats], correlation: float = 0.0) -> Floats:
    """Return :func:`combined` for arrays."""
    squares, total = sum(part * part for part in parts), sum(parts)
    return np.asarray(np.sqrt(np.maximum(0.0, (1.0 - correlation) * squares + correlation * (total * total))))


def check_correlation(correlation: float, inputs: int) -> None:
    """Raise ValueError for a coefficient that no set of inputs can have between each two of them."""
    lowest = -1.0 / (inputs - 1) if inputs > 1 else -1.0
    if not lowest <= correlation <= 1.0:
        raise ValueError(f"{inputs} inputs correlate between {lowest:g} and 1, not {correlation:g}")
