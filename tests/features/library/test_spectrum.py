"""Spectra and power in bands over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import welch
from tests.features.library.recordings import (
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    record_two,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.band_power import BandPower
from gapless.features.library.welch_spectrum import WelchSpectrum

RATE_HZ = 100.0
NOISE = np.random.default_rng(8).normal(0, 1, 1000)
TIME_S = np.arange(1000) / RATE_HZ
TILES = {"low": (0.0, 10.0), "middle": (10.0, 30.0), "high": (30.0, 50.0)}


@pytest.mark.parametrize("segment_s", [None, 0.5])
@pytest.mark.parametrize("detrend", ["constant", "linear"])
def test_each_window_is_that_of_scipy(segment_s: float | None, detrend: str) -> None:
    """Window by window the density is that of scipy.signal.welch, at the time of the middle row."""
    params = {"window_s": 2.0, "step_s": 1.0, "segment_s": segment_s, "detrend": detrend}
    out = WelchSpectrum(None, params).apply(frame_of(TIME_S, x=NOISE))
    windows = list(out.groupby("timestamp_ns", sort=True))
    assert len(windows) == 9
    rows = 200 if segment_s is None else 50
    for number, (_, found) in enumerate(windows):
        samples = NOISE[number * 100 : number * 100 + 200]
        frequency, density = welch(
            samples, RATE_HZ, "hann", rows, rows // 2, detrend=detrend, scaling="density"
        )
        np.testing.assert_allclose(found["frequency_hz"], frequency, rtol=1e-9)
        np.testing.assert_allclose(found["x_psd"], density, rtol=1e-9, atol=1e-15)
        assert set(found["time"]) == {TIME_S[number * 100 + 100]}


def test_a_sine_has_half_its_squared_amplitude() -> None:
    """All of it in the band that holds its frequency."""
    sine = 3.0 * np.sin(2 * np.pi * 20 * TIME_S)
    out = BandPower(None, {"bands": TILES}).apply(frame_of(TIME_S, x=sine))
    np.testing.assert_allclose(out["x_middle"], 4.5, rtol=1e-6)
    np.testing.assert_allclose(out[["x_low", "x_high"]], 0.0, atol=1e-6)


def test_bands_side_by_side_hold_all_the_power() -> None:
    """No frequency is counted twice or left out; relative powers make 1."""
    df = frame_of(TIME_S, x=NOISE)
    bands = BandPower(None, {"bands": TILES}).apply(df)[["x_low", "x_middle", "x_high"]]
    spectrum = WelchSpectrum().apply(df)
    step_hz = spectrum["frequency_hz"].iloc[1]
    whole = spectrum.groupby("timestamp_ns", sort=True)["x_psd"].sum().to_numpy() * step_hz
    np.testing.assert_allclose(bands.sum(axis=1), whole, rtol=1e-9)
    relative = BandPower(None, {"bands": TILES, "relative": True}).apply(df)
    np.testing.assert_allclose(relative[["x_low", "x_middle", "x_high"]].sum(axis=1), 1.0, rtol=1e-9)


def test_a_frequency_on_the_edge_of_two_bands_is_in_the_upper_one() -> None:
    """At 128 Hz, where every frequency is exact, a sine of 16 Hz has no part in a band that ends there."""
    time_s = np.arange(1024) / 128
    sine = np.sin(2 * np.pi * 16 * time_s)
    bands = {"bands": {"below": (0.0, 16.0), "above": (16.0, 64.0)}}
    out = BandPower(None, bands).apply(frame_of(time_s, x=sine))
    # The window of Hann spreads a sine over three frequencies: a sixth, two thirds and a sixth of its power.
    np.testing.assert_allclose(out["x_below"], 0.5 / 6, rtol=1e-6)
    np.testing.assert_allclose(out["x_above"], 0.5 * 5 / 6, rtol=1e-6)


def test_nothing_has_no_relative_power() -> None:
    """A column of zeros has powers of zero, and no share of them."""
    df = frame_of(TIME_S, x=np.zeros(1000))
    assert (BandPower(None, {"bands": TILES}).apply(df)["x_low"] == 0).all()
    assert BandPower(None, {"bands": TILES, "relative": True}).apply(df)["x_low"].isna().all()


def test_a_window_with_a_missing_value_or_a_gap_has_no_power() -> None:
    """It keeps its row, and the other windows and columns keep their values."""
    holed = np.where(np.arange(1000) == 450, np.nan, NOISE)
    plain = BandPower(None, {"bands": TILES}).apply(frame_of(TIME_S, x=NOISE, y=NOISE))
    out = BandPower(None, {"bands": TILES}).apply(frame_of(TIME_S, x=holed, y=NOISE))
    assert out["x_low"].isna().tolist() == [number in (3, 4) for number in range(9)]
    np.testing.assert_array_equal(out["y_low"], plain["y_low"])
    late = TIME_S + np.where(np.arange(1000) >= 450, 5.0, 0.0)
    gap = BandPower(None, {"bands": TILES}).apply(frame_of(late, x=NOISE))
    assert gap["x_low"].isna().tolist() == [number in (3, 4) for number in range(9)]


def test_uneven_rows_are_refused() -> None:
    """The error names the feature that makes them even."""
    uneven = np.cumsum(np.tile([0.01, 0.03], 500))
    with pytest.raises(ArgumentRefused, match="resample"):
        WelchSpectrum().apply(frame_of(uneven, x=NOISE))


def test_objects_never_mix() -> None:
    """Two objects in one recording come out as each alone."""
    first = frame_of(TIME_S, x=NOISE)
    second = frame_of(TIME_S[:600] + 0.001, x=NOISE[:600] * 7)
    assert_objects_never_mix(BandPower(None, {"bands": TILES}), first, second)
    assert_objects_never_mix(WelchSpectrum(), first, second)


def test_an_object_shorter_than_a_window_has_no_rows() -> None:
    """No row, one row, and as many as a window less one."""
    for feature in (WelchSpectrum(), BandPower(None, {"bands": TILES})):
        assert len(assert_small_frames_work(feature, "x")) == 0
        assert len(feature.apply(frame_of(TIME_S[:199], x=NOISE[:199]))) == 0
        assert len(feature.apply(frame_of(TIME_S[:200], x=NOISE[:200]))) > 0


@pytest.mark.parametrize(
    "params",
    [
        {}, {"bands": {}}, {"bands": {"up": (5.0, 5.0)}}, {"bands": {"below": (-1.0, 5.0)}},
        {"bands": TILES, "window_s": 1.0, "segment_s": 2.0}, {"bands": TILES, "step_s": 0.0},
        {"bands": TILES, "detrend": "square"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_parameters_are_refused(params: dict[str, Any]) -> None:
    """No bands, bands of nothing, segments longer than windows are refused."""
    with pytest.raises(ArgumentRefused):
        BandPower(None, params)


def test_what_the_rate_does_not_hold_is_refused() -> None:
    """A band beyond half the rate, and a window of hardly any row."""
    df = frame_of(TIME_S, x=NOISE)
    with pytest.raises(ArgumentRefused, match="highest frequency"):
        BandPower(None, {"bands": {"ultra": (40.0, 60.0)}}).apply(df)
    with pytest.raises(ArgumentRefused, match="too few rows"):
        WelchSpectrum(None, {"window_s": 0.02}).apply(df)


def test_a_recording_has_spectra(tmp_path: Path) -> None:
    """The rows are at recorded times, so that they join other inputs; a straight line detrended has no power."""
    record_two(tmp_path / "store")
    bands = {"bands": {"all": (0.0, 5.0)}, "detrend": "linear"}
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(BandPower(None, bands))
        df = dict(ds.results(run))["g0", "pair"]
        assert df["id"].tolist() == [1, 2] * 3
        assert df["frame"].tolist() == [10, 10, 20, 20, 30, 30]
        assert (df.loc[df["id"] == 1, "x_all"] > 0.1).all()
        np.testing.assert_allclose(df.loc[df["id"] == 2, "x_all"], 0.0, atol=1e-12)
        assert ds.entry_records(run)["g0", "pair"].timebase == "tracks"
        spectrum = ds.run_feature(WelchSpectrum())
        topic = ds.client.sequence_handler("pair").topic(f"features/{spectrum.feature}@{spectrum.run_id}")
        assert topic.schema.field("frequency_hz").metadata == {b"unit": b"Hz"}
        assert topic.rows == 6 * 11
