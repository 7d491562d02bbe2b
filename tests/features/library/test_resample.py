"""Rows at a fixed rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.library.recordings import (
    START_NS,
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    record_two,
    uneven_times,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.resample import Resample
from gapless.features.result import Result


def resampled(df: pd.DataFrame, **params: Any) -> pd.DataFrame:
    """Return what the feature makes of a frame."""
    out: pd.DataFrame = Resample(None, params).apply(df)
    return out


def test_linear_is_the_straight_line() -> None:
    """Between uneven rows the values are those of numpy.interp at the times of the grid."""
    time_s = uneven_times(200)
    value = np.sin(time_s)
    out = resampled(frame_of(time_s, x=value), rate_hz=25)
    grid_s = (out["timestamp_ns"].to_numpy() - START_NS) / 1e9
    np.testing.assert_allclose(out["x"], np.interp(grid_s, time_s, value), rtol=0, atol=1e-12)
    assert out["frame"].tolist() == list(range(len(out)))
    np.testing.assert_array_equal(out["time"], grid_s)
    assert set(out["sequence"]) == {"s"}


@settings(max_examples=40, deadline=None)
@given(rate_hz=st.sampled_from([0.5, 3.0, 7.0, 10.0, 33.3]), seed=st.integers(0, 1000))
def test_hold_and_nearest_take_recorded_values(rate_hz: float, seed: int) -> None:
    """Each value is that of the row before, or of the nearest one, found by looking at every row."""
    time_s = uneven_times(60, seed)
    df = frame_of(time_s, x=np.arange(60.0))
    stamps = df["timestamp_ns"].to_numpy()
    for method in ("hold", "nearest"):
        out = resampled(df, rate_hz=rate_hz, method=method)
        grid = out["timestamp_ns"].to_numpy()[:, None]
        distance = np.where(stamps <= grid, grid - stamps, np.inf) if method == "hold" else abs(grid - stamps)
        np.testing.assert_array_equal(out["x"], np.argmin(distance, axis=1))


def test_the_grid_does_not_drift() -> None:
    """After three million thirds of a second the grid is still where it belongs."""
    out = resampled(frame_of([0.0, 1_000_000.0], x=[0.0, 3e6]), rate_hz=3)
    assert len(out) == 3_000_001
    assert out["timestamp_ns"].iloc[-1] == START_NS + 10**15
    offset = out["timestamp_ns"].to_numpy() - START_NS
    assert int(abs(offset * 3 - np.arange(3_000_001) * 10**9).max()) <= 2


def test_nothing_comes_from_beyond_a_gap() -> None:
    """Inside a gap there is no value, at its ends there is."""
    df = frame_of([0.0, 1.0, 5.0, 6.0], x=[0.0, 1.0, 5.0, 6.0])
    expected = {
        "linear": [0, 1, np.nan, np.nan, np.nan, 5, 6],
        "hold": [0, 1, 1, np.nan, np.nan, 5, 6],
        "nearest": [0, 1, 1, np.nan, 5, 5, 6],
    }
    for method, values in expected.items():
        out = resampled(df, rate_hz=1, method=method, max_gap_s=1.5)
        np.testing.assert_array_equal(out["x"], values, err_msg=method)
    np.testing.assert_array_equal(resampled(df, rate_hz=1)["x"], np.arange(7.0))


def test_a_missing_value_counts_as_an_absent_row() -> None:
    """It is bridged like a gap, and its column alone."""
    df = frame_of([0.0, 1.0, 2.0], x=[0.0, np.nan, 2.0], y=[0.0, 5.0, 2.0])
    out = resampled(df, rate_hz=1)
    np.testing.assert_array_equal(out["x"], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(out["y"], [0.0, 5.0, 2.0])
    np.testing.assert_array_equal(resampled(df, rate_hz=1, max_gap_s=1)["x"], [0.0, np.nan, 2.0])


def test_angles_go_the_short_way() -> None:
    """Between 170 and -170 degrees lies 180 for an angle, and 0 for any other number."""
    df = frame_of([0.0, 1.0], turn=np.deg2rad([170.0, -170.0]))
    out = resampled(df, rate_hz=2, angles=("turn",))
    assert abs(out["turn"].iloc[1]) == pytest.approx(np.pi)
    assert resampled(df, rate_hz=2)["turn"].iloc[1] == pytest.approx(0.0)


def test_text_and_truth_are_held() -> None:
    """What cannot be on a line is the value before."""
    df = frame_of([0.0, 1.0], label=["walk", "rest"], seen=[True, False], x=[0.0, 1.0])
    out = resampled(df, rate_hz=2)
    assert out["label"].tolist() == ["walk", "walk", "rest"]
    assert out["seen"].tolist() == [True, True, False]
    assert out["x"].tolist() == [0.0, 0.5, 1.0]


def test_objects_share_the_grid_and_nothing_else() -> None:
    """An object has rows from its first to its last one, with its own values."""
    first = frame_of([0.0, 2.0], x=[0.0, 2.0])
    second = frame_of([1.0, 3.0], x=[10.0, 30.0])
    out = Resample(None, {"rate_hz": 1}).apply(pd.concat([first.assign(id=1), second.assign(id=2)]))
    assert out[["id", "frame", "x"]].to_numpy().tolist() == [
        [1, 0, 0], [1, 1, 1], [2, 1, 10], [1, 2, 2], [2, 2, 20], [2, 3, 30],
    ]  # fmt: skip
    time_s = np.arange(20) / 4
    assert_objects_never_mix(
        Resample(None, {"rate_hz": 8}), frame_of(time_s, x=np.sin(time_s)), frame_of(time_s, x=time_s + 9)
    )


def test_grids_from_whole_seconds_are_shared() -> None:
    """Recordings that begin at different times have rows at the same ones."""
    grids = [
        set(resampled(frame_of(time_s, x=time_s), rate_hz=4, start="second")["timestamp_ns"])
        for time_s in (np.arange(0.0, 5.0, 0.3), np.arange(0.11, 5.0, 0.2))
    ]
    shorter = min(grids, key=len)
    assert len(shorter) > 10
    assert {stamp % 250_000_000 for stamp in grids[0] | grids[1]} == {0}
    assert shorter <= grids[0] | grids[1]
    assert shorter & grids[0] & grids[1] == shorter


def test_no_row_and_one_row() -> None:
    """One row is one row of the grid."""
    out = assert_small_frames_work(Resample(None, {"rate_hz": 10}), "x")
    assert out["x"].tolist() == [1.0]
    assert out["timestamp_ns"].tolist() == [START_NS]


def test_a_gap_of_just_max_gap_is_bridged() -> None:
    """Only a longer one is not, whatever the method."""
    df = frame_of([0.0, 2.0], x=[0.0, 2.0])
    assert resampled(df, rate_hz=1, max_gap_s=2.0)["x"].tolist() == [0.0, 1.0, 2.0]
    assert resampled(df, rate_hz=1, max_gap_s=1.0, method="hold")["x"].tolist() == [0.0, 0.0, 2.0]
    assert resampled(df, rate_hz=1, max_gap_s=1.0, method="nearest")["x"].tolist() == [0.0, 0.0, 2.0]


@pytest.mark.parametrize(
    "params",
    [
        {}, {"rate_hz": 0}, {"rate_hz": float("inf")}, {"rate_hz": 1, "method": "cubic"},
        {"rate_hz": 1, "max_gap_s": 0}, {"rate_hz": 1, "columns": ("x",), "angles": ("y",)},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_refused(params: dict[str, Any]) -> None:
    """Rates, methods, gaps and angles that mean nothing are refused."""
    with pytest.raises(ArgumentRefused):
        Resample(None, params)


def test_a_column_that_is_not_there_is_refused() -> None:
    """The error names it."""
    with pytest.raises(ArgumentRefused, match="speed"):
        resampled(frame_of([0.0, 1.0], x=[0.0, 1.0]), rate_hz=1, columns=("speed",))


def test_a_recording_is_resampled(tmp_path: Path) -> None:
    """The output has its own times, keeps the unit, and is read by the next feature."""
    record_two(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(Resample(None, {"rate_hz": 20}))
        topic = ds.client.sequence_handler("pair").topic(f"features/{run.feature}@{run.run_id}")
        assert topic.rows == 2 * 79
        assert topic.schema.field("x").metadata == {b"unit": b"m"}
        again = ds.run_feature(
            Resample([Result(feature=run.feature, run_id=run.run_id)], {"rate_hz": 10, "method": "nearest"})
        )
        df = dict(ds.results(again))["g0", "pair"]
        assert df.loc[df["id"] == 2, "x"].tolist() == [100.0 + row for row in range(40)]
        assert ds.run_feature(Resample(None, {"rate_hz": 20})).cache_hit
