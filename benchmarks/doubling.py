"""The feature that the benchmark computes: in a module of its own, which workers import."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gapless.features import Inputs, Params, TrackInput
from gapless.features.kit import TableFeature


class _Inputs(Inputs[TrackInput]):
    pass


class DoubledArrow(TableFeature):
    """``value = 2 x``, on Arrow tables."""

    name, version, parallelizable, scope_dependent = "doubled-arrow", "1.0", True, False
    frame_type: ClassVar[str] = "arrow"
    Inputs = _Inputs

    class Params(Params):
        """``round``: tells the rounds of the benchmark apart."""

        round: int = 0

    def apply(self, df: pa.Table) -> pa.Table:
        """Return the doubled column."""
        return df.append_column("value", pc.multiply(df.column("x"), 2.0))


class DoubledPandas(DoubledArrow):
    """``value = 2 x``, on pandas frames."""

    name = "doubled-pandas"
    frame_type: ClassVar[str] = "pandas"

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:  # type: ignore[override]
        """Return the doubled column."""
        return df.assign(value=2.0 * df["x"])
