"""Smoothing by local polynomials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features.library.column_feature import ColumnFeature, ColumnParams, Piece

_EVEN_RATIO = 1e-6
_EVEN_S = 2e-9  # time stamps are rounded to nanoseconds, so intervals differ by up to two
_CHUNK_ROWS = 8192


class SavitzkyGolay(ColumnFeature):
    """Each value replaced by that of a polynomial fitted to the ``window_rows`` around it.

    Least squares by the rows' real times. For even times that is the filter of Savitzky and Golay (Analytical
    Chemistry 36, 1964, 1627), computed as ``scipy.signal.savgol_filter(mode="interp")``. At the ends of a
    piece the polynomial of the outermost window holds. A piece shorter than the window is fitted as a whole.

    Output: the columns under their own names. A missing value stays missing and counts for no other row.
    """

    name: ClassVar[str] = "savitzky-golay"
    version: ClassVar[str] = "1.0"

    class Params(ColumnParams):
        """``window_rows`` is odd and larger than ``degree``, the polynomial's."""

        window_rows: int = Field(default=7, ge=1)
        degree: int = Field(default=2, ge=0, le=10)

        @model_validator(mode="after")
        def _window_fits(self) -> SavitzkyGolay.Params:
            if self.window_rows % 2 == 0:
                raise ArgumentRefused("window_rows is odd", found=self.window_rows)
            if self.window_rows <= self.degree:
                raise ArgumentRefused(
                    "window_rows is larger than degree", found=self.window_rows, expected=f"> {self.degree}"
                )
            return self

    params: Params

    def output_names(self, names: Sequence[str]) -> list[str]:
        """Return the columns' own names."""
        return list(names)

    def computed(self, piece: Piece) -> NDArray[np.float64]:
        """Return the smoothed values of a piece."""
        out = np.full(piece.values.shape, np.nan)
        for place, values in enumerate(piece.values.T):
            known = np.isfinite(values)
            out[known, place] = smoothed(
                piece.time_s[known], values[known], self.params.window_rows, self.params.degree
            )
        return out


def smoothed(
    time_s: NDArray[np.float64], values: NDArray[np.float64], window_rows: int, degree: int
) -> NDArray[np.float64]:
    """Return a course without missing values, smoothed; unchanged if it has no more rows than coefficients."""
    rows = len(values)
    if rows <= degree + 1:
        return values
    if rows >= window_rows and _even(time_s):
        from scipy.signal import savgol_filter

        even: NDArray[np.float64] = savgol_filter(values, window_rows, degree, mode="interp")
        return even
    window = min(window_rows, rows)
    start = np.clip(np.arange(rows) - window_rows // 2, 0, rows - window)
    return np.concatenate(
        [
            _local_fits(time_s, values, np.arange(low, min(low + _CHUNK_ROWS, rows)), start, window, degree)
            for low in range(0, rows, _CHUNK_ROWS)
        ]
    )


def _even(time_s: NDArray[np.float64]) -> bool:
    intervals = np.diff(time_s)
    return bool(np.ptp(intervals) <= max(_EVEN_RATIO * np.median(intervals), _EVEN_S))


def _local_fits(
    time_s: NDArray[np.float64],
    values: NDArray[np.float64],
    rows: NDArray[np.intp],
    start: NDArray[np.intp],
    window: int,
    degree: int,
) -> NDArray[np.float64]:
    """Return at each row the value of the least squares polynomial through its window."""
    inside = start[rows, None] + np.arange(window)
    offset = time_s[inside] - time_s[rows, None]
    scale = np.abs(offset).max(axis=1, keepdims=True)
    powers = (offset / np.where(scale > 0, scale, 1.0))[:, :, None] ** np.arange(degree + 1)
    weights = np.linalg.pinv(powers)[:, 0, :]
    fitted: NDArray[np.float64] = np.einsum("rw,rw->r", weights, values[inside])
    return fitted
