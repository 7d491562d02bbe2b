"""Statistics of the rows around each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.features.library.recordings import (
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    record_two,
    uneven_times,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.rolling import RollingStatistics

STATISTICS = ("mean", "std", "min", "max", "median")


def inside(
    df: pd.DataFrame, row: int, window_s: float | None, window_rows: int | None, centered: bool
) -> Any:
    """Return which rows are in the window of a row, straight from its definition."""
    if window_rows is not None:
        first = row - window_rows // 2 if centered else row - window_rows + 1
        places = np.arange(len(df))
        return (places >= first) & (places < first + window_rows)
    assert window_s is not None
    distance_ns = df["timestamp_ns"].to_numpy() - df["timestamp_ns"].iloc[row]
    if centered:
        return abs(distance_ns) <= window_s * 1e9 / 2
    return (distance_ns > -window_s * 1e9) & (distance_ns <= 0)


def expected(df: pd.DataFrame, statistic: str, min_rows: int, **window: Any) -> NDArray[np.float64]:
    """Return a statistic, row by row with numpy."""
    x = df["x"].to_numpy()
    out = []
    for row in range(len(df)):
        near = x[inside(df, row, **window)]
        near = near[np.isfinite(near)]
        enough = len(near) >= max(min_rows, 2 if statistic == "std" else 1)
        ddof: dict[str, Any] = {"ddof": 1} if statistic == "std" else {}
        out.append(getattr(np, statistic)(near, **ddof) if enough else np.nan)
    return np.array(out)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 40),
    window=st.one_of(
        st.tuples(st.sampled_from([0.05, 0.2, 1.0, 30.0]), st.none()),
        st.tuples(st.none(), st.integers(2, 9)),
    ),
    centered=st.booleans(),
    min_rows=st.integers(1, 2),
)
def test_every_window_is_what_its_definition_says(
    seed: int, rows: int, window: tuple[float | None, int | None], centered: bool, min_rows: int
) -> None:
    """All statistics of all windows, with missing values, equal numpy over the rows inside."""
    random = np.random.default_rng(seed)
    x = np.where(random.random(rows) < 0.2, np.nan, random.normal(0, 1, rows))
    df = frame_of(uneven_times(rows, seed), x=x)
    chosen = {"window_s": window[0], "window_rows": window[1], "centered": centered}
    out = RollingStatistics(None, {**chosen, "min_rows": min_rows, "statistics": STATISTICS}).apply(df)
    for statistic in STATISTICS:
        np.testing.assert_allclose(
            out[f"x_{statistic}"], expected(df, statistic, min_rows, **chosen), atol=1e-9, err_msg=statistic
        )


def test_the_edges_of_windows_in_seconds() -> None:
    """A centered window has both its ends, one that looks back has not its far end."""
    df = frame_of(np.arange(5) / 10, x=np.arange(5.0))
    for centered, minimum in ((True, [0, 0, 1, 2, 3]), (False, [0, 0, 1, 2, 3])):
        width = 0.2
        out = RollingStatistics(None, {"window_s": width, "centered": centered, "statistics": ("min",)})
        assert out.apply(df)["x_min"].tolist() == minimum
    assert RollingStatistics(None, {"window_s": 0.2, "statistics": ("max",)}).apply(df)["x_max"].tolist() == [
        1, 2, 3, 4, 4,
    ]  # fmt: skip


def test_no_window_reaches_across_a_gap() -> None:
    """Rows beyond a gap do not count, in windows of rows as well."""
    df = frame_of([0.0, 0.1, 5.0, 5.1], x=[0.0, 0.0, 8.0, 8.0])
    out = RollingStatistics(None, {"window_rows": 3, "max_gap_s": 1.0, "statistics": ("mean",)}).apply(df)
    assert out["x_mean"].tolist() == [0.0, 0.0, 8.0, 8.0]


@pytest.mark.parametrize("statistic", ["mean", "std"])
def test_one_huge_value_spoils_only_the_windows_that_hold_it(statistic: str) -> None:
    """A spike of 1e12 that has left the window leaves no trace in the digits of what follows."""
    x = np.random.default_rng(6).normal(0, 1e-3, 200)
    x[50] = 1e12
    df = frame_of(np.arange(200) / 10, x=x)
    chosen = {"window_s": None, "window_rows": 9, "centered": True}
    out = RollingStatistics(None, {"window_rows": 9, "statistics": (statistic,)}).apply(df)
    np.testing.assert_allclose(
        out[f"x_{statistic}"], expected(df, statistic, 1, **chosen), rtol=1e-6, atol=1e-12
    )


def test_objects_never_mix() -> None:
    """Two objects in one recording come out as each alone."""
    first, second = uneven_times(50), uneven_times(30, 7)
    feature = RollingStatistics(None, {"window_s": 0.5})
    assert_objects_never_mix(feature, frame_of(first, x=np.sin(first)), frame_of(second, x=50 + second))


def test_no_row_and_one_row() -> None:
    """One value has a mean and no deviation."""
    out = assert_small_frames_work(RollingStatistics(None, {"window_rows": 3}), "x")
    assert out["x_mean"].tolist() == [1.0]
    assert out["x_std"].isna().all()


@pytest.mark.parametrize(
    "params",
    [
        {}, {"window_s": 1.0, "window_rows": 3}, {"window_s": 0.0}, {"window_rows": 0},
        {"window_rows": 3, "min_rows": 4}, {"window_rows": 3, "statistics": ()},
        {"window_rows": 3, "statistics": ("mode",)},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_refused(params: dict[str, Any]) -> None:
    """Neither or both windows, windows of nothing, and unknown statistics are refused."""
    with pytest.raises(ArgumentRefused):
        RollingStatistics(None, params)


def test_a_recording_is_summed_up(tmp_path: Path) -> None:
    """Each object by its own rows; times and ids stay."""
    record_two(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(RollingStatistics(None, {"window_s": 0.2, "statistics": ("mean", "max")}))
        df = dict(ds.results(run))["g0", "pair"]
        second = df[df["id"] == 2]
        assert second["x_max"].tolist() == [100.0 + min(row + 1, 39) for row in range(40)]
        assert second["x_mean"].tolist()[1:-1] == [100.0 + row for row in range(1, 39)]
