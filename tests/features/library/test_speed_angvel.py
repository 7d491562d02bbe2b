"""Speed and angular velocity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.features.library.recordings import (
    assert_objects_never_mix,
    assert_small_frames_work,
    frame_of,
    uneven_times,
)

from gapless.errors import ArgumentRefused
from gapless.features.columns import Columns
from gapless.features.library.speed_angvel import SpeedAngvel

TIME_S = uneven_times(400)
RADIUS, RATE = 3.0, 0.8


def circling(time_s: np.ndarray = TIME_S) -> pd.DataFrame:
    """Return an object on a circle that looks where it goes."""
    turn = RATE * time_s
    heading = (turn + np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
    return frame_of(time_s, X=RADIUS * np.cos(turn), Y=RADIUS * np.sin(turn), ANGLE=heading)


@pytest.mark.parametrize("heading", ["orientation", "movement"])
def test_a_circle_has_its_speed_and_turn(heading: str) -> None:
    """Radius times rate, and the rate, although the heading jumps from π to -π."""
    out = SpeedAngvel(None, {"heading": heading}).apply(circling())
    inside = slice(2, -2)
    np.testing.assert_allclose(out["speed"][inside], RADIUS * RATE, rtol=5e-3)
    np.testing.assert_allclose(out["angvel"][inside], RATE, rtol=2e-2)
    assert SpeedAngvel().units == {"angvel": "rad/s"}


def test_a_straight_walk_is_exact() -> None:
    """Also at the ends; backwards it turns nowhere, and its speed stays positive."""
    df = frame_of(TIME_S, X=-3 * TIME_S, Y=4 * TIME_S, ANGLE=0.5)
    out = SpeedAngvel().apply(df)
    np.testing.assert_allclose(out["speed"], 5.0)
    np.testing.assert_allclose(out["angvel"], 0.0, atol=1e-9)


def test_degrees_are_turned_into_radians() -> None:
    """90 degrees a second are π/2."""
    df = frame_of(np.arange(9) / 10, X=0.0, Y=0.0, ANGLE=(np.arange(9) * 9.0 + 170) % 360)
    out = SpeedAngvel(None, {"orientation_unit": "deg"}).apply(df)
    np.testing.assert_allclose(out["angvel"], np.pi / 2)


def test_an_object_at_rest_has_no_direction_of_movement() -> None:
    """Its speed is 0 and its turn is missing."""
    out = SpeedAngvel(None, {"heading": "movement"}).apply(frame_of(np.arange(5.0), X=1.0, Y=2.0))
    assert out["speed"].tolist() == [0.0] * 5
    assert out["angvel"].isna().all()


def test_a_missing_position_spoils_its_neighbours_alone() -> None:
    """And not the turn, which has its own column."""
    df = circling()
    df.loc[100, "X"] = np.nan
    out = SpeedAngvel().apply(df)
    assert np.flatnonzero(out["speed"].isna()).tolist() == [99, 100, 101]
    assert out["angvel"].notna().all()


def test_no_speed_goes_across_a_gap() -> None:
    """A jump over a gap is no speed where max_gap_s says so."""
    df = frame_of([0.0, 0.1, 9.0, 9.1], X=[0.0, 0.0, 50.0, 50.0], Y=0.0, ANGLE=[0.0, 0.0, 3.0, 3.0])
    out = SpeedAngvel(None, {"max_gap_s": 1.0}).apply(df)
    assert out["speed"].tolist() == [0.0] * 4
    assert out["angvel"].tolist() == [0.0] * 4


def test_objects_never_mix() -> None:
    """Two objects in one recording come out as each alone."""
    assert_objects_never_mix(SpeedAngvel(), circling(), circling(uneven_times(50, 3)))


def test_no_row_and_one_row() -> None:
    """One row has neither."""
    out = assert_small_frames_work(SpeedAngvel(), "X", "Y", "ANGLE")
    assert out[["speed", "angvel"]].isna().all(axis=None)


def test_columns_are_those_of_the_data_set() -> None:
    """By whatever name; a missing orientation is refused with both ways out."""
    feature = SpeedAngvel(None, {"heading": "movement"})
    feature.columns = Columns(x_col="px", y_col="py")
    assert feature.input_columns == ("px", "py")
    out = feature.apply(frame_of(TIME_S, px=TIME_S, py=0.0))
    np.testing.assert_allclose(out["speed"], 1.0)
    assert SpeedAngvel().input_columns == ("X", "Y", "ANGLE")
    with pytest.raises(ArgumentRefused, match=r'ANGLE.*heading="movement"'):
        SpeedAngvel().apply(frame_of(TIME_S, X=TIME_S, Y=0.0))


def test_a_recording_has_speeds(tmp_path: Path) -> None:
    """Each object by its own rows, with the unit of the turn."""
    from tests.features.library.recordings import record_animals

    from gapless.features.dataset import Dataset

    record_animals(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(SpeedAngvel())
        topic = ds.client.sequence_handler("pair").topic(f"features/{run.feature}@{run.run_id}")
        assert topic.schema.field("angvel").metadata == {b"unit": b"rad/s"}
        df = dict(ds.results(run))["g0", "pair"]
        np.testing.assert_allclose(df.loc[df["id"] == 1, "speed"], 10.0)
        np.testing.assert_allclose(df.loc[df["id"] == 2, "speed"], 0.0)
