"""Rows at a fixed rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.kit import TableFeature
from gapless.features.library.angle import wrapped
from gapless.features.library.track import ColumnNames, Positive, Track, tracks_of
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

_NS = 1e9
_SECOND_NS = 1_000_000_000
_STEP = "__step__"  # holds the number of the grid's time until objects are put together
Stamps = NDArray[np.int64]


class Resample(TableFeature):
    """The recording on an even grid of times, one row for each object and time of the grid.

    The grid begins at the first row, or at the whole second before it (``start="second"``, so that recordings of
    other topics share it), and is the same for all objects; an object has rows from its first to its last
    one. ``linear`` takes the straight line between the rows around, ``hold`` the last row before, ``nearest`` the
    nearest row, of two the earlier. Text and booleans are held whatever the method, numbers become float64.
    Columns in ``angles`` are in radians and go the shortest way round, to [-π, π).

    Missing values count as absent rows. Nothing is taken from further away than ``max_gap_s`` (``linear``: nothing
    between rows further apart than that); what cannot be had is missing. None bridges any gap.

    Output: ``timestamp_ns``, ``frame`` and ``time`` of the grid, id, group and sequence, and the columns.
    """

    name: ClassVar[str] = "resample"
    version: ClassVar[str] = "1.0"

    class Params(feature_params.Params):
        """``rate_hz`` rows per second; ``columns`` None: all."""

        rate_hz: Positive
        method: Literal["linear", "hold", "nearest"] = "linear"
        max_gap_s: Positive | None = None
        start: Literal["first", "second"] = "first"
        columns: ColumnNames | None = None
        angles: tuple[str, ...] = ()

        @model_validator(mode="after")
        def _angles_are_columns(self) -> Resample.Params:
            unknown = sorted(set(self.angles) - set(self.columns or self.angles))
            if unknown:
                raise ArgumentRefused("angles are among the columns", found=unknown, expected=self.columns)
            return self

    params: Params

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the grid, in time order."""
        import pandas as pd

        names = self._names(df)
        frame, time = self.columns.frame_col, self.columns.time_col
        order = [TIME, frame, time, *self._constants(df), *names]
        stamps = df[TIME].to_numpy(dtype=np.int64)
        if not len(stamps):
            return df.assign(**{frame: stamps, time: stamps / _NS})[order]
        start_ns = int(stamps.min())
        if self.params.start == "second":
            start_ns = start_ns // _SECOND_NS * _SECOND_NS
        parts = [self._of_track(df, stamps, track, names, start_ns) for track in tracks_of(df, self.columns)]
        out = pd.concat(parts, ignore_index=True).sort_values(TIME, kind="stable", ignore_index=True)
        out[frame] = out[_STEP] - out[_STEP].min()
        out[time] = (out[TIME] - out[TIME].min()) / _NS
        return out[order]

    def _names(self, df: pd.DataFrame) -> list[str]:
        """Return the columns to resample; ArgumentRefused for one that is not there, and without times."""
        wanted = [TIME, *(self.params.columns or ()), *self.params.angles]
        missing = [name for name in wanted if name not in df.columns]
        if missing:
            raise ArgumentRefused("the frame lacks a column", field=missing[0], found=list(df.columns))
        meta = self.columns.meta_set() | {TIME}
        return list(self.params.columns or [name for name in df.columns if name not in meta])

    def _constants(self, df: pd.DataFrame) -> list[str]:
        own = (self.columns.group_col, self.columns.seq_col, self.columns.id_col)
        return [name for name in own if name in df.columns]

    def _of_track(
        self, df: pd.DataFrame, stamps: Stamps, track: Track, names: list[str], start_ns: int
    ) -> pd.DataFrame:
        import pandas as pd

        mine = stamps[track.rows]
        step = _steps(int(mine[0]) - start_ns, int(mine[-1]) - start_ns, self.params.rate_hz)
        grid = start_ns + _offsets(step, self.params.rate_hz)
        rows = df.iloc[track.rows]
        constant = {name: _taken(rows[name], np.zeros(len(grid), np.intp)) for name in self._constants(df)}
        values = {name: self._resampled(rows[name], mine, grid, name) for name in names}
        return pd.DataFrame({TIME: grid, _STEP: step, **constant, **values})

    def _resampled(self, column: pd.Series[Any], stamps: Stamps, grid: Stamps, name: str) -> Any:
        import pandas as pd

        known = column.notna().to_numpy()
        column, stamps = column[known], stamps[known]
        gap_ns = self.params.max_gap_s * _NS if self.params.max_gap_s is not None else np.inf
        is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if not is_number:
            return _taken(column, _held(stamps, grid, gap_ns))
        values = column.to_numpy(dtype=np.float64)
        if self.params.method == "linear":
            return _between(stamps, values, grid, gap_ns, around=name in self.params.angles)
        place = (_held if self.params.method == "hold" else _nearest)(stamps, grid, gap_ns)
        return np.append(values, np.nan)[place]  # place -1 is the NaN


def _steps(first_ns: int, last_ns: int, rate_hz: float) -> Stamps:
    """Return the numbers of the grid's times from the first to the last row, both offsets from its start."""
    low, high = int(first_ns * rate_hz / _NS) - 1, int(last_ns * rate_hz / _NS) + 2
    step = np.arange(max(low, 0), high, dtype=np.int64)
    offset = _offsets(step, rate_hz)
    inside: Stamps = step[(offset >= first_ns) & (offset <= last_ns)]
    return inside


def _offsets(step: Stamps, rate_hz: float) -> Stamps:
    offset: Stamps = np.rint(step * (_NS / rate_hz)).astype(np.int64)
    return offset


def _held(stamps: Stamps, grid: Stamps, gap_ns: float) -> NDArray[np.intp]:
    """Return for each time of the grid the place of the last row before it, -1 where it is too far away."""
    place = np.searchsorted(stamps, grid, side="right") - 1
    return np.where((place >= 0) & (_distance(stamps, grid, place) <= gap_ns), place, -1)


def _nearest(stamps: Stamps, grid: Stamps, gap_ns: float) -> NDArray[np.intp]:
    """Return for each time of the grid the place of the nearest row, -1 where it is too far away."""
    before = np.searchsorted(stamps, grid, side="right") - 1
    after = before + 1
    behind, ahead = _distance(stamps, grid, before), _distance(stamps, grid, after)
    place = np.where(ahead < behind, after, before)
    return np.where(np.minimum(behind, ahead) <= gap_ns, place, -1)


def _distance(stamps: Stamps, grid: Stamps, place: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how far the rows at these places are from the grid; infinitely far where there is no row."""
    there = (place >= 0) & (place < len(stamps))
    out = np.full(len(grid), np.inf)
    out[there] = np.abs(stamps[place[there]] - grid[there])
    return out


def _between(
    stamps: Stamps, values: NDArray[np.float64], grid: Stamps, gap_ns: float, *, around: bool
) -> NDArray[np.float64]:
    """Return the straight line between the rows around each time of the grid; ``around`` a circle."""
    out = np.full(len(grid), np.nan)
    low = np.searchsorted(stamps, grid, side="right") - 1
    there = low >= 0
    hit = there.copy()
    hit[there] = stamps[low[there]] == grid[there]
    inside = there & ~hit & (low + 1 < len(stamps))
    left, right = low[inside], low[inside] + 1
    span = (stamps[right] - stamps[left]).astype(np.float64)
    change = values[right] - values[left]
    if around:
        change = wrapped(change)
    line = values[left] + change * ((grid[inside] - stamps[left]) / span)
    out[hit] = values[low[hit]]
    out[inside] = np.where(span <= gap_ns, line, np.nan)
    return wrapped(out) if around else out


def _taken(column: pd.Series[Any], place: NDArray[np.intp]) -> Any:
    """Return the values at these places, missing for -1, in a type that does not depend on what is missing."""
    import pandas as pd

    values = column.astype("boolean").array if pd.api.types.is_bool_dtype(column) else column.array
    return pd.api.extensions.take(values, place, allow_fill=True)
