"""The calibration of one channel: curve, change of unit, believed range and uncertainty as one function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gapless.acquire.calibration.curve import Curve, Floats, Statuses
from gapless.acquire.calibration.uncertainty import Uncertainty
from gapless.acquire.emission import SampleStatus

Calibrated = tuple[float, int, float | None]  # value, status, standard uncertainty

_BELOW, _ABOVE = int(SampleStatus.BELOW_RANGE), int(SampleStatus.ABOVE_RANGE)
_CLAMPED, _NOT_FINITE = int(SampleStatus.CLAMPED), int(SampleStatus.NOT_FINITE)
_UNMEASURED = _CLAMPED | _NOT_FINITE  # an end value, or none: what was declared does not hold for it


@dataclass(frozen=True, slots=True)
class Calibration:
    """What becomes of a raw number. ``curve`` ends in the channel's unit.

    ``valid_range``: raw values outside are flagged, not changed. ``uncertainty`` None: unmeasured.
    """

    curve: Curve
    valid_range: tuple[float, float] | None = None
    uncertainty: Uncertainty | None = None

    def compiled(self) -> Callable[[float], Calibrated]:
        """Return the function of one raw value; a value that is clamped or not finite has no uncertainty."""
        value, isfinite = self.curve.value, math.isfinite
        low, high = self.valid_range or (-math.inf, math.inf)
        spread = self.uncertainty.through(self.curve) if self.uncertainty is not None else None

        def apply(x: float) -> Calibrated:
            y, status = value(x)
            if x < low:
                status |= _BELOW
            elif x > high:
                status |= _ABOVE
            if not isfinite(y):
                return y, status | _NOT_FINITE, None
            if spread is None or status & _CLAMPED:
                return y, status, None
            u = spread(x, y)
            return y, status, u if isfinite(u) else None

        return apply

    def apply_all(self, x: Floats) -> tuple[Floats, Statuses, Floats | None]:
        """Return values, statuses and uncertainties (NaN where there is none) of many raw values."""
        with np.errstate(all="ignore"):  # what is not finite carries a status
            y, status = self.curve.values(x)
            status = status | self._flags(x, y)
            if self.uncertainty is None:
                return y, status, None
            spread = self.uncertainty.through_all(self.curve, x, y)
        measured = ((status & _UNMEASURED) == 0) & np.isfinite(spread)
        return y, status, spread if measured.all() else np.where(measured, spread, np.nan)

    def _flags(self, x: Floats, y: Floats) -> Statuses:
        flags = np.where(np.isfinite(y), 0, _NOT_FINITE)
        if self.valid_range is not None:
            low, high = self.valid_range
            flags |= np.where(x < low, _BELOW, np.where(x > high, _ABOVE, 0))
        return flags.astype(np.int8)
