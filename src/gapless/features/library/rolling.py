"""Statistics of the rows around each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features.library.column_feature import ColumnFeature, ColumnParams, Piece
from gapless.features.library.track import Positive

Statistic = Literal["mean", "std", "min", "max", "median"]


class RollingStatistics(ColumnFeature):
    """Mean, standard deviation, minimum, maximum and median of a window of each column around each row.

    The window is ``window_s`` seconds (``[t - window_s/2, t + window_s/2]``, not centered ``(t - window_s, t]``) or
    ``window_rows`` rows; an even centered one reaches one row further back. ``std`` is that of a sample (n - 1).
    Missing and infinite values do not count; with fewer than ``min_rows`` values the result is missing, and so
    is ``std`` of one value.

    Output: ``<column>_<statistic>``.
    """

    name: ClassVar[str] = "rolling-statistics"
    version: ClassVar[str] = "1.0"

    class Params(ColumnParams):
        """Exactly one of ``window_s`` and ``window_rows`` is given."""

        window_s: Positive | None = None
        window_rows: int | None = Field(default=None, ge=1)
        centered: bool = True
        min_rows: int = Field(default=1, ge=1)
        statistics: Annotated[tuple[Statistic, ...], Field(min_length=1)] = (
            "mean", "std", "min", "max", "median",
        )  # fmt: skip

        @model_validator(mode="after")
        def _one_window(self) -> RollingStatistics.Params:
            if (self.window_s is None) == (self.window_rows is None):
                raise ArgumentRefused(
                    "exactly one of window_s and window_rows is given",
                    found=(self.window_s, self.window_rows),
                )
            if self.window_rows is not None and self.min_rows > self.window_rows:
                raise ArgumentRefused("min_rows is at most window_rows", found=self.min_rows)
            return self

    params: Params

    def output_names(self, names: Sequence[str]) -> list[str]:
        """Return one name for each column and statistic."""
        return [f"{name}_{statistic}" for name in names for statistic in self.params.statistics]

    def computed(self, piece: Piece) -> NDArray[np.float64]:
        """Return the statistics of a piece."""
        import pandas as pd

        params = self.params
        stamps = pd.DatetimeIndex(np.rint(piece.time_s * 1e9).astype("datetime64[ns]"))
        frame = pd.DataFrame(np.where(np.isfinite(piece.values), piece.values, np.nan), index=stamps)
        window: Any = params.window_rows
        closed: Literal["both", "right"] | None = None
        if params.window_s is not None:
            window = pd.Timedelta(round(params.window_s * 1e9), "ns")
            closed = "both" if params.centered else "right"
        windows = frame.rolling(window, params.min_rows, center=params.centered, closed=closed)
        found = [getattr(windows, statistic)().to_numpy() for statistic in params.statistics]
        return np.stack(found, axis=2).reshape(len(stamps), -1)
