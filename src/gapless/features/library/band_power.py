"""Power in bands of frequency over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features.kit import TableFeature
from gapless.features.library.spectral_windows import Spectra, SpectralParams, spectra
from gapless.features.library.track import data_columns, meta_columns
from gapless.features.library.unit import squared

if TYPE_CHECKING:
    import pandas as pd

_NYQUIST_SLACK = 1e-6  # rates come from rounded time stamps


class BandPower(TableFeature):
    """Power of each column in bands of frequency, in windows that move over time.

    The sum of the density of :class:`~gapless.features.library.welch_spectrum.WelchSpectrum` over the frequencies
    in [low, high) times their distance: squared unit of the column; a sine of amplitude a has a²/2. The last
    frequency belongs to a band that ends there. With ``relative`` it is divided by the power of all frequencies.

    Output: one row for each window, ``<column>_<band>``, at the time of the window's middle row. NaN for a window
    that holds a missing value or uneven times, and for the relative power of none. Raises ArgumentRefused for a
    band beyond half the rate.
    """

    name: ClassVar[str] = "band-power"
    version: ClassVar[str] = "1.0"

    class Params(SpectralParams):
        """``bands``: name → (low, high) in Hz."""

        bands: Annotated[dict[str, tuple[float, float]], Field(min_length=1)]
        relative: bool = False

        @model_validator(mode="after")
        def _bands_rise(self) -> BandPower.Params:
            wrong = {name: ends for name, ends in self.bands.items() if not 0 <= ends[0] < ends[1] < np.inf}
            if wrong:
                raise ArgumentRefused("a band goes from a low to a high frequency", found=wrong)
            return self

    params: Params

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    def derived_units(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Return the squared units of the columns; a relative power has none."""
        if self.params.relative:
            return {}
        return {
            f"{name}_{band}": squared(unit) for name, unit in recorded.items() for band in self.params.bands
        }

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the powers, one row for each window."""
        import pandas as pd

        names = data_columns(df, self.columns, self.params.columns)
        called = [f"{name}_{band}" for name in names for band in self.params.bands]
        parts = [(found.rows, self._powers(found)) for found in spectra(df, names, self.columns, self.params)]
        rows = np.concatenate([np.empty(0, np.intp), *(rows for rows, _ in parts)])
        powers = np.concatenate([np.empty((0, len(called))), *(powers for _, powers in parts)])
        meta = df[meta_columns(df, self.columns)].iloc[rows].reset_index(drop=True)
        return pd.concat([meta, pd.DataFrame(powers, columns=called)], axis=1)

    def _powers(self, found: Spectra) -> NDArray[np.float64]:
        """Return windows × (columns × bands)."""
        frequency = found.frequency_hz
        last = frequency[-1]
        beyond = {n: e for n, e in self.params.bands.items() if e[1] > last * (1 + _NYQUIST_SLACK)}
        if beyond:
            raise ArgumentRefused(
                "a band goes beyond the highest frequency of the spectrum", found=beyond,
                expected=f"at most {last:g} Hz",
            )  # fmt: skip
        inside = np.array(
            [
                (frequency >= low) & ((frequency < high) | (high >= last * (1 - _NYQUIST_SLACK)))
                for low, high in self.params.bands.values()
            ]
        )
        power: NDArray[np.float64] = np.einsum(
            "wcf,bf->wcb", found.power, inside * (frequency[1] - frequency[0])
        )
        if self.params.relative:
            whole = found.power.sum(axis=-1, keepdims=True) * (frequency[1] - frequency[0])
            power = power / np.where(whole > 0, whole, np.nan)
        return power.reshape(len(found.rows), -1)
