"""The change of columns by real times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.library.recordings import (
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    record_two,
    uneven_times,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.derivative import Derivative


def rate(df: pd.DataFrame, **params: Any) -> Any:
    """Return the derivative of column x."""
    return Derivative(None, params).apply(df)["x_per_s"].to_numpy()


@settings(max_examples=60, deadline=None)
@given(a=st.floats(-10, 10), b=st.floats(-10, 10), rows=st.integers(3, 60), seed=st.integers(0, 1000))
def test_parabolas_are_exact_inside(a: float, b: float, rows: int, seed: int) -> None:
    """The slope of a t² + b t is 2 a t + b at every row but the first and last, however uneven the times."""
    time_s = uneven_times(rows, seed)
    found = rate(frame_of(time_s, x=a * time_s**2 + b * time_s))
    np.testing.assert_allclose(found[1:-1], (2 * a * time_s + b)[1:-1], atol=1e-7)


def test_the_formula_at_one_row_and_at_the_ends() -> None:
    """By hand: times 0, 1, 3 with values 0, 1, 9; at the ends the slopes of the lines."""
    found = rate(frame_of([0.0, 1.0, 3.0], x=[0.0, 1.0, 9.0]))
    np.testing.assert_allclose(found, [1.0, 2.0, 4.0])


def test_times_late_in_the_century_lose_no_digit() -> None:
    """Steps of a microsecond give exact rates although the stamps have nineteen digits."""
    time_s = np.arange(100) * 1e-6
    np.testing.assert_allclose(rate(frame_of(time_s, x=np.arange(100.0))), 1e6, rtol=1e-9)


def test_a_missing_value_has_no_rate_and_gives_none_to_its_neighbours() -> None:
    """Three rates are missing for one value; all others are as they were."""
    x = np.arange(9.0)
    holed = np.where(np.arange(9) == 4, np.nan, x)
    found = rate(frame_of(x, x=holed))  # whole seconds: for even steps the formula leaves the middle row out
    assert np.isnan(found).tolist() == [row in (3, 4, 5) for row in range(9)]
    np.testing.assert_allclose(found[[0, 1, 2, 6, 7, 8]], 1.0)


def test_no_rate_goes_across_a_gap() -> None:
    """A jump over a gap is no speed where max_gap_s says so."""
    df = frame_of([0.0, 0.1, 0.2, 9.0, 9.1, 9.2], x=[0.0, 0.0, 0.0, 50.0, 50.0, 50.0])
    assert rate(df, max_gap_s=1.0).tolist() == [0.0] * 6
    assert rate(df).max() > 0


def test_two_rows_at_one_time_have_no_rate() -> None:
    """The step on which no time passes spoils its two rows and no infinite value comes out."""
    found = rate(frame_of([0.0, 0.1, 0.1, 0.2, 0.3], x=np.arange(5.0)))
    assert np.isnan(found[1:3]).all()
    assert np.isfinite(found[4])
    assert not np.isinf(found).any()


def test_angles_change_the_short_way() -> None:
    """A wheel that turns on evenly has one rate, across the jump from pi to -pi as well."""
    time_s = np.arange(40) / 10
    turn = (2.0 * time_s + np.pi) % (2 * np.pi) - np.pi
    df = frame_of(time_s, x=turn, z=turn)
    out = Derivative(None, {"angles": ("x",)})
    np.testing.assert_allclose(out.apply(df)["x_per_s"], 2.0)
    assert out.apply(df)["z_per_s"].min() < -10
    assert out.units == {"x_per_s": "rad/s"}


def test_objects_never_mix() -> None:
    """Two objects in one recording come out as each alone."""
    first, second = uneven_times(50), uneven_times(30, 7)
    assert_objects_never_mix(
        Derivative(), frame_of(first, x=np.sin(first)), frame_of(second, x=50 + np.cos(second))
    )


def test_no_row_and_one_row() -> None:
    """One row has no rate."""
    assert assert_small_frames_work(Derivative(), "x")["x_per_s"].isna().all()


def test_wrong_parameters_are_refused() -> None:
    """A gap of no length, and an angle that is not among the columns."""
    with pytest.raises(ArgumentRefused):
        Derivative(None, {"max_gap_s": 0.0})
    turning = Derivative(None, {"columns": ("x",), "angles": ("turn",)})
    with pytest.raises(ArgumentRefused, match="turn"):
        turning.apply(frame_of([0.0, 1.0], x=[0.0, 1.0]))


def test_a_recording_is_derived(tmp_path: Path) -> None:
    """Each object by its own rows; times and ids stay."""
    x = record_two(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(Derivative())
        df = dict(ds.results(run))["g0", "pair"]
        np.testing.assert_allclose(df.loc[df["id"] == 1, "x_per_s"], np.gradient(x, 0.1), atol=1e-9)
        np.testing.assert_allclose(df.loc[df["id"] == 2, "x_per_s"], 10.0)
        assert ds.entry_records(run)["g0", "pair"].timebase == "tracks"
