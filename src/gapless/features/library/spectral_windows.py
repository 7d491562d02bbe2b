"""Power spectra of windows that move over an object's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.columns import Columns
from gapless.features.library.track import (
    ColumnNames,
    Positive,
    Track,
    numbers,
    tracks_of,
)

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_ROWS = 4
_CHUNK_VALUES = 4_000_000


class SpectralParams(feature_params.Params):
    """A window of ``window_s`` seconds every ``step_s`` seconds.

    Each window's spectrum is the mean over Hann segments of ``segment_s`` (None: the window) that overlap by half,
    less their mean or straight line. Intervals between rows may differ from their median by ``max_jitter`` of it.
    """

    columns: ColumnNames | None = None
    window_s: Positive = 2.0
    step_s: Positive = 1.0
    segment_s: Positive | None = None
    detrend: Literal["constant", "linear"] = "constant"
    max_jitter: Positive = 0.05

    @model_validator(mode="after")
    def _segment_fits(self) -> SpectralParams:
        if self.segment_s is not None and self.segment_s > self.window_s:
            raise ArgumentRefused("a segment is no longer than its window", found=self.segment_s)
        return self


@dataclass(frozen=True, slots=True)
class Spectra:
    """Spectra of some windows of one object.

    ``rows``: place in the frame of each window's middle row. ``power``: density in squared units per Hz,
    windows × columns × frequencies; NaN for a window with a missing value or uneven times.
    """

    rows: NDArray[np.intp]
    frequency_hz: NDArray[np.float64]
    power: NDArray[np.float64]


def spectra(
    df: pd.DataFrame, names: Sequence[str], columns: Columns, params: SpectralParams
) -> Iterator[Spectra]:
    """Yield the spectra of all windows, object by object; an object shorter than a window has none.

    Raises ArgumentRefused where no window of any object has even times, and for windows of under four rows.
    """
    values = numbers(df, names)
    found = [windows for track in tracks_of(df, columns) if (windows := _windows(track, params)) is not None]
    if found and not any(windows.even.any() for windows in found):
        raise ArgumentRefused(
            "rows are not evenly spaced, so they have no spectrum", expected=f"jitter ≤ {params.max_jitter}",
            next_step="resample first, with the feature resample",
        )  # fmt: skip
    for windows in found:
        yield from _spectra_of(windows, values, params)


@dataclass(frozen=True, slots=True)
class _Windows:
    """All windows of one object: ``rows`` of the frame, windows × rows per window."""

    rows: NDArray[np.intp]
    even: NDArray[np.bool_]
    rate_hz: float


def _windows(track: Track, params: SpectralParams) -> _Windows | None:
    intervals = np.diff(track.time_s)
    usual = (
        round(float(np.median(intervals)) * 1e9) / 1e9 if len(intervals) else 0.0
    )  # stamps are whole nanoseconds
    if usual <= 0:
        return None
    length = round(params.window_s / usual)
    if length < _FEWEST_ROWS:
        raise ArgumentRefused(
            "a window has too few rows for a spectrum", field="window_s", found=params.window_s,
            expected=f"at least {_FEWEST_ROWS * usual:g} s at this rate",
        )  # fmt: skip
    if len(track) < length:
        return None
    step = max(round(params.step_s / usual), 1)
    rows = np.lib.stride_tricks.sliding_window_view(track.rows, length)[::step]
    uneven = np.abs(intervals - usual) > params.max_jitter * usual
    broken = np.lib.stride_tricks.sliding_window_view(uneven, length - 1)[::step]
    even: NDArray[np.bool_] = np.logical_not(broken.any(axis=1))
    return _Windows(rows, even, 1.0 / usual)


def _spectra_of(windows: _Windows, values: NDArray[np.float64], params: SpectralParams) -> Iterator[Spectra]:
    from scipy.signal import welch

    length = windows.rows.shape[1]
    segment = length if params.segment_s is None else round(params.segment_s * windows.rate_hz)
    segment = min(max(segment, _FEWEST_ROWS), length)
    at_once = max(_CHUNK_VALUES // (length * values.shape[1]), 1)
    for low in range(0, len(windows.rows), at_once):
        rows, even = windows.rows[low : low + at_once], windows.even[low : low + at_once]
        samples = np.moveaxis(values[rows], 1, 2)
        frequency, power = welch(
            samples, windows.rate_hz, "hann", segment, segment // 2, detrend=params.detrend, axis=-1
        )
        power[~even] = np.nan
        yield Spectra(rows[:, length // 2], frequency, power)
