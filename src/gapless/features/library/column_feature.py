"""Features that turn each column of an object's rows into one or more columns of the same rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gapless.features import params as feature_params
from gapless.features.kit import TableFeature
from gapless.features.library.track import (
    ColumnNames,
    Positive,
    data_columns,
    meta_columns,
    numbers,
    tracks_of,
)

if TYPE_CHECKING:
    import pandas as pd


class ColumnParams(feature_params.Params):
    """``columns``: what to compute it of, None all numeric ones.

    Nothing is computed across a gap of more than ``max_gap_s`` between rows of one object; None: across any.
    """

    columns: ColumnNames | None = None
    max_gap_s: Positive | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one object: times in seconds, and values, rows × ``names``, missing ones as NaN."""

    time_s: NDArray[np.float64]
    values: NDArray[np.float64]
    names: Sequence[str]


class ColumnFeature(TableFeature):
    """Computes columns object by object, piece by piece between gaps; the output has the input's rows."""

    class Params(ColumnParams):
        """Which columns, and how far apart rows may be."""

    params: ColumnParams

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    @abstractmethod
    def output_names(self, names: Sequence[str]) -> list[str]:
        """Return what the computed columns are called."""

    def derived_units(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Return the units of the computed columns: those of the columns that they are computed from."""
        return {called: unit for name, unit in recorded.items() for called in self.output_names([name])}

    @abstractmethod
    def computed(self, piece: Piece) -> NDArray[np.float64]:
        """Return the computed columns of a piece, rows × outputs."""

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and what was computed."""
        import pandas as pd

        names = data_columns(df, self.columns, self.params.columns)
        values = numbers(df, names)
        called = self.output_names(names)
        out = np.full((len(df), len(called)), np.nan)
        for track in tracks_of(df, self.columns):
            for piece in track.pieces(self.params.max_gap_s):
                out[piece.rows] = self.computed(Piece(piece.time_s, values[piece.rows], names))
        meta = df[meta_columns(df, self.columns)]
        return pd.concat([meta, pd.DataFrame(out, index=df.index, columns=called)], axis=1)
