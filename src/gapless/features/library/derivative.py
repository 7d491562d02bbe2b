"""How fast columns change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gapless.errors import ArgumentRefused
from gapless.features.library.angle import unwrapped
from gapless.features.library.column_feature import ColumnFeature, ColumnParams, Piece
from gapless.features.library.unit import rate


def rate_of_change(time_s: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the derivative of each column (rows × columns) by time.

    Inside: the slope at the middle row of the parabola through three rows, at the ends: of the line through
    two. NaN for a row that or whose neighbour is missing, beside a step on which no time passes, and for a
    single row.
    """
    if len(time_s) < 2:
        return np.full(values.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.gradient(values, time_s, axis=0)
    still = np.diff(time_s) <= 0
    slope[np.append(still, False) | np.insert(still, 0, False)] = np.nan
    slope[~np.isfinite(values)] = np.nan
    return slope


class Derivative(ColumnFeature):
    """The change per second of each column, by the rows' real times.

    Central differences of second order for uneven times (the formula of ``numpy.gradient``), one-sided at the
    ends of a piece. Columns in ``angles`` are in radians and change by the shortest way round.

    Output: ``<column>_per_s``, NaN where a value or a neighbour is missing, for a single row, and where two
    rows of one object have one time.
    """

    name: ClassVar[str] = "derivative"
    version: ClassVar[str] = "1.0"

    class Params(ColumnParams):
        """``angles``: which of the columns are angles in radians."""

        angles: tuple[str, ...] = ()

    params: Params

    @property
    def units(self) -> dict[str, str]:
        """Units of the derivatives of angles; those of others follow from what is recorded."""
        return {f"{name}_per_s": "rad/s" for name in self.params.angles}

    def output_names(self, names: Sequence[str]) -> list[str]:
        """Return the names of the derivatives; ArgumentRefused for an angle that is not among the columns."""
        unknown = sorted(set(self.params.angles) - set(names))
        if unknown:
            raise ArgumentRefused("angles are among the columns", found=unknown, expected=", ".join(names))
        return [f"{name}_per_s" for name in names]

    def derived_units(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Return the units of the columns per second."""
        return {f"{name}_per_s": rate(unit) for name, unit in recorded.items()}

    def computed(self, piece: Piece) -> NDArray[np.float64]:
        """Return the derivatives of a piece."""
        course = piece.values.copy()
        for place, name in enumerate(piece.names):
            if name in self.params.angles:
                course[:, place] = unwrapped(course[:, place])
        return rate_of_change(piece.time_s, course)
