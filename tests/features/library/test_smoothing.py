"""Smoothing by local polynomials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import savgol_filter
from tests.features.library.recordings import (
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    record_two,
    uneven_times,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.savitzky_golay import SavitzkyGolay


def smooth(df: pd.DataFrame, **params: Any) -> Any:
    """Return the smoothed column x."""
    return SavitzkyGolay(None, params).apply(df)["x"].to_numpy()


@pytest.mark.parametrize(("window_rows", "degree"), [(5, 0), (7, 2), (11, 3), (21, 4)])
def test_even_rows_are_filtered_as_scipy_does(window_rows: int, degree: int) -> None:
    """Inside and at the ends the values are those of savgol_filter."""
    noisy = np.sin(np.arange(100) / 9) + np.random.default_rng(1).normal(0, 0.1, 100)
    found = smooth(frame_of(np.arange(100) / 30, x=noisy), window_rows=window_rows, degree=degree)
    np.testing.assert_allclose(found, savgol_filter(noisy, window_rows, degree), rtol=0, atol=1e-9)


def test_uneven_rows_are_fitted_by_their_times() -> None:
    """Each value is that of the least squares polynomial through the rows around it."""
    time_s = uneven_times(40)
    noisy = np.random.default_rng(2).normal(0, 1, 40)
    expected = []
    for row in range(40):
        start = min(max(row - 3, 0), 33)
        near = slice(start, start + 7)
        expected.append(np.polynomial.Polynomial.fit(time_s[near], noisy[near], 2)(time_s[row]))
    np.testing.assert_allclose(
        smooth(frame_of(time_s, x=noisy), window_rows=7, degree=2), expected, atol=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(
    coefficients=st.lists(st.floats(-5, 5), min_size=1, max_size=4),
    rows=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
def test_a_polynomial_is_left_as_it_is(coefficients: list[float], rows: int, seed: int) -> None:
    """What is of the degree already does not change, however uneven its times and few its rows."""
    time_s = uneven_times(rows, seed)
    value = np.polynomial.Polynomial(coefficients)(time_s)
    found = smooth(frame_of(time_s, x=value), window_rows=9, degree=3)
    np.testing.assert_allclose(found, value, rtol=1e-7, atol=1e-7)


def test_a_missing_value_stays_missing_and_spoils_no_other() -> None:
    """The rows around it are fitted as if its row were not there."""
    time_s = np.arange(30) / 10
    noisy = np.random.default_rng(3).normal(0, 1, 30)
    holed = np.where(np.arange(30) == 12, np.nan, noisy)
    found = smooth(frame_of(time_s, x=holed))
    present = np.arange(30) != 12
    assert np.isnan(found[12])
    np.testing.assert_allclose(
        found[present], smooth(frame_of(time_s[present], x=noisy[present])), rtol=0, atol=1e-12
    )


def test_pieces_on_both_sides_of_a_gap_are_smoothed_alone() -> None:
    """A step across a gap stays a step."""
    time_s = np.concatenate((np.arange(20) / 10, 10 + np.arange(20) / 10))
    step = np.repeat([0.0, 1.0], 20)
    np.testing.assert_allclose(smooth(frame_of(time_s, x=step), max_gap_s=1.0), step, atol=1e-12)
    assert not np.allclose(smooth(frame_of(time_s, x=step)), step)


def test_objects_never_mix() -> None:
    """Two objects in one recording come out as each alone."""
    first = frame_of(uneven_times(50), x=np.random.default_rng(4).normal(0, 1, 50))
    second = frame_of(np.arange(60) / 12, x=np.random.default_rng(5).normal(50, 1, 60))
    assert_objects_never_mix(SavitzkyGolay(), first, second)


def test_no_row_and_one_row() -> None:
    """One row is its own polynomial."""
    assert assert_small_frames_work(SavitzkyGolay(), "x")["x"].tolist() == [1.0]


@pytest.mark.parametrize(
    "params",
    [
        {"window_rows": 8},
        {"window_rows": 3, "degree": 3},
        {"degree": -1},
        {"max_gap_s": 0.0},
        {"columns": ()},
    ],
    ids=str,
)
def test_wrong_parameters_are_refused(params: dict[str, Any]) -> None:
    """Windows that are even or too small, and gaps of no length are refused."""
    with pytest.raises(ArgumentRefused):
        SavitzkyGolay(None, params)


def test_text_is_refused_where_it_is_named() -> None:
    """Without names only the numbers are smoothed."""
    df = frame_of(np.arange(9) / 10, x=np.arange(9.0), label=list("abcdefghi"))
    out = SavitzkyGolay().apply(df)
    assert "label" not in out.columns
    with pytest.raises(ArgumentRefused, match="label"):
        SavitzkyGolay(None, {"columns": ("label",)}).apply(df)


def test_a_recording_is_smoothed(tmp_path: Path) -> None:
    """Rows, times, ids and the unit stay; each object is smoothed alone."""
    x = record_two(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(SavitzkyGolay())
        topic = ds.client.sequence_handler("pair").topic(f"features/{run.feature}@{run.run_id}")
        assert topic.schema.field("x").metadata == {b"unit": b"m"}
        df = dict(ds.results(run))["g0", "pair"]
        np.testing.assert_allclose(df.loc[df["id"] == 1, "x"], savgol_filter(x, 7, 2), atol=1e-9)
        np.testing.assert_allclose(df.loc[df["id"] == 2, "x"], 100.0 + np.arange(40), atol=1e-9)
