"""The rows of a frame object by object, in time order, so that rows of two objects never mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gapless.errors import ArgumentRefused
from gapless.features.columns import Columns
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ColumnNames = Annotated[tuple[str, ...], Field(min_length=1)]
_NS = 1e9


@dataclass(frozen=True, slots=True)
class Track:
    """Rows of one object: their places in the frame, in time order, and their times in seconds."""

    rows: NDArray[np.intp]
    time_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self, max_gap_s: float | None) -> list[Track]:
        """Return the parts between which more than ``max_gap_s`` passes; None: the whole."""
        if max_gap_s is None or len(self) < 2:
            return [self]
        cuts = np.flatnonzero(np.diff(self.time_s) > max_gap_s) + 1
        return [
            Track(rows, time_s)
            for rows, time_s in zip(np.split(self.rows, cuts), np.split(self.time_s, cuts), strict=True)
        ]


def tracks_of(df: pd.DataFrame, columns: Columns) -> list[Track]:
    """Return the rows of each object, in the order in which objects appear; all rows without an id column."""
    import pandas as pd

    if df.empty:
        return []
    time_s = seconds(df, columns)
    if columns.id_col in df.columns:
        number = pd.factorize(df[columns.id_col], use_na_sentinel=False)[0]
    else:
        number = np.zeros(len(df), dtype=np.intp)
    order = np.lexsort((time_s, number))
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    return [Track(rows, time_s[rows]) for rows in np.split(order, cuts)]


def seconds(df: pd.DataFrame, columns: Columns) -> NDArray[np.float64]:
    """Return the time of each row in seconds since the earliest row, exact to the nanosecond.

    Raises ArgumentRefused for a frame without a time column.
    """
    if TIME in df.columns:
        stamps = df[TIME].to_numpy(dtype=np.int64)
        since: NDArray[np.float64] = (stamps - stamps.min(initial=np.iinfo(np.int64).max)) / _NS
        return since
    if columns.time_col in df.columns:
        return df[columns.time_col].to_numpy(dtype=np.float64)
    raise ArgumentRefused(
        "the frame has no time", found=list(df.columns), expected=f"{TIME} or {columns.time_col}"
    )


def meta_columns(df: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the columns that say which row it is, in the frame's order; every output keeps them."""
    meta = columns.meta_set() | {TIME}
    return [name for name in df.columns if name in meta]


def data_columns(df: pd.DataFrame, columns: Columns, wanted: Sequence[str] | None) -> list[str]:
    """Return the wanted columns, or all numeric ones that are not meta columns.

    Raises ArgumentRefused for a column that is not there or holds no numbers, and where there is none.
    """
    meta = columns.meta_set() | {TIME}
    numeric = [name for name in df.select_dtypes("number").columns if name not in meta]
    if wanted is None:
        if not numeric:
            raise ArgumentRefused("the frame has no numeric columns", found=list(df.columns))
        return numeric
    wrong = [name for name in wanted if name not in numeric]
    if wrong:
        raise ArgumentRefused(
            "a column is not there or holds no numbers", field=wrong[0], found=list(df.columns),
            expected=", ".join(numeric),
        )  # fmt: skip
    return list(wanted)


def numbers(df: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Return columns as float64, rows × columns, missing values as NaN."""
    return df[list(names)].to_numpy(dtype=np.float64, na_value=np.nan)


def number_column(df: pd.DataFrame, name: str, advice: str | None = None) -> NDArray[np.float64]:
    """Return one column as float64; ArgumentRefused, with ``advice``, where there is no such column."""
    if name not in df.columns:
        raise ArgumentRefused(
            "the frame lacks a column", field=name, found=list(df.columns), next_step=advice
        )
    return numbers(df, [name])[:, 0]


def complete(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows have no missing and no infinite value."""
    whole: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(values), axis=1)
    return whole
