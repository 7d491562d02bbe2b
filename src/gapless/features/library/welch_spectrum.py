"""Power spectral density over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gapless.features.kit import TableFeature
from gapless.features.library.spectral_windows import SpectralParams, spectra
from gapless.features.library.track import data_columns, meta_columns
from gapless.features.library.unit import density

if TYPE_CHECKING:
    import pandas as pd


class WelchSpectrum(TableFeature):
    """Power spectral density of each column in windows that move over time.

    Welch's method (IEEE Transactions on Audio and Electroacoustics 15, 1967, 70), computed by
    ``scipy.signal.welch``: squared unit of the column per Hz, so that its sum times the distance of two frequencies
    is the variance in the window.

    Output: one row for each window and frequency, ``frequency_hz`` and ``<column>_psd``, at the time of the
    window's middle row. NaN for a window that holds a missing value or uneven times; an object shorter than a
    window has no rows.
    """

    name: ClassVar[str] = "welch-spectrum"
    version: ClassVar[str] = "1.0"
    units: ClassVar[dict[str, str]] = {"frequency_hz": "Hz"}

    class Params(SpectralParams):
        """Windows, segments and columns."""

    params: Params

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    def derived_units(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Return the squared units per Hz of the columns."""
        return {f"{name}_psd": density(unit) for name, unit in recorded.items()}

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the spectra, one row for each window and frequency."""
        import pandas as pd

        names = data_columns(df, self.columns, self.params.columns)
        meta = df[meta_columns(df, self.columns)]
        parts = [_table(meta.iloc[:0], np.empty(0), np.empty((0, len(names))), names)]
        for found in spectra(df, names, self.columns, self.params):
            count = len(found.frequency_hz)
            density = np.moveaxis(found.power, 1, 2).reshape(-1, len(names))
            frequency = np.tile(found.frequency_hz, len(found.rows))
            parts.append(_table(meta.iloc[np.repeat(found.rows, count)], frequency, density, names))
        return pd.concat(parts[1:] or parts, ignore_index=True)


def _table(meta: pd.DataFrame, frequency: np.ndarray, density: np.ndarray, names: list[str]) -> pd.DataFrame:
    columns = {f"{name}_psd": density[:, place] for place, name in enumerate(names)}
    return meta.assign(frequency_hz=frequency, **columns)
