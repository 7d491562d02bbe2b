"""Body scale and egocentric pose."""

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
    record_animals,
)

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.body_scale import BodyScale
from gapless.features.library.egocentric_pose import EgocentricPose

THREE: dict[str, Any] = {"pose": {"pose_n": 3}}


def posed(points: Any, time_s: Any = None, **columns: Any) -> pd.DataFrame:
    """Return a frame of poses, rows × points × 2."""
    points = np.asarray(points, dtype=np.float64)
    named = {f"pose{'XY'[axis]}{p}": points[:, p, axis] for p in range(points.shape[1]) for axis in (0, 1)}
    return frame_of(np.arange(len(points)) if time_s is None else time_s, **named, **columns)


LENGTHS = np.array([1.0, 2.0, 3.0, 100.0, 2.5])
BENT = np.stack([np.zeros((5, 2)), np.stack([LENGTHS, np.zeros(5)], 1), np.stack([LENGTHS, LENGTHS], 1)], 1)


def test_the_scale_is_the_median_way_along_the_points() -> None:
    """Over two legs of a corner, in every row of the object."""
    out = BodyScale(None, {**THREE, "points": (0, 1, 2)}).apply(posed(BENT))
    assert out["body_scale"].tolist() == [5.0] * 5
    direct = BodyScale(None, {**THREE, "points": (0, 2)}).apply(posed(BENT))
    np.testing.assert_allclose(direct["body_scale"], 2.5 * np.sqrt(2))


def test_rows_without_a_point_do_not_count() -> None:
    """Missing ones, and those that the confidence says nothing good of; without any the scale is missing."""
    df = posed(BENT)
    df.loc[3, "poseX1"] = np.nan
    feature = BodyScale(None, {**THREE, "points": (0, 1)})
    assert feature.apply(df)["body_scale"].tolist() == [2.25] * 5
    sure = df.assign(poseP0=1.0, poseP1=[0.1, 0.9, 0.9, 0.9, np.nan])
    careful = BodyScale(None, {**THREE, "points": (0, 1), "min_confidence": 0.5})
    assert careful.apply(sure)["body_scale"].tolist() == [2.5] * 5
    assert careful.input_columns == ["poseX0", "poseY0", "poseX1", "poseY1", "poseP0", "poseP1"]
    nowhere = feature.apply(df.assign(poseX0=np.nan))
    assert nowhere["body_scale"].isna().all()


def test_each_object_has_its_scale_or_all_have_one() -> None:
    """per="sequence" is the median over all rows."""
    small, big = posed(BENT), posed(10 * BENT)
    feature = BodyScale(None, THREE)
    assert_objects_never_mix(feature, small, big)
    both = pd.concat([small.assign(id=1), big.assign(id=2)], ignore_index=True)
    together = BodyScale(None, {**THREE, "per": "sequence"}).apply(both)
    assert set(together["body_scale"]) == {np.median(np.concatenate([LENGTHS, 10 * LENGTHS]))}


@settings(max_examples=60, deadline=None)
@given(
    angle=st.floats(-10, 10),
    shift=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    seed=st.integers(0, 1000),
)
def test_a_pose_is_the_same_wherever_the_object_is(
    angle: float, shift: tuple[float, float], seed: int
) -> None:
    """Moved and turned as a whole, an object sees itself as before, by its points or by its columns."""
    shape = np.random.default_rng(seed).normal(size=(6, 3, 2))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = posed(shape @ turn + shift, X=shift[0], Y=shift[1], ANGLE=angle)
    still = posed(shape, X=0.0, Y=0.0, ANGLE=0.0)
    for params in (THREE, {**THREE, "origin": 1, "axis": (0, 2)}, {**THREE, "origin": 0}):
        feature = EgocentricPose(None, params)
        names = [f"ego_{axis}_{p}" for p in range(3) for axis in "xy"]
        np.testing.assert_allclose(feature.apply(moved)[names], feature.apply(still)[names], atol=1e-9)
    np.testing.assert_allclose(EgocentricPose(None, THREE).apply(still)[names], shape.reshape(6, 6))


def test_ahead_is_the_first_axis_and_left_the_second() -> None:
    """An object that looks up: a point above it is ahead, one to the west is on its left."""
    df = posed([[[5.0, 5.0], [5.0, 7.0], [2.0, 5.0]]], X=5.0, Y=5.0, ANGLE=90.0)
    names = {"keypoint_names": ["centre", "nose", "hip"], "pose_indices": [1, 2], "pose_n": 3}
    out = EgocentricPose(None, {"pose": names, "orientation_unit": "deg"}).apply(df)
    assert list(out.columns)[-4:] == ["ego_x_nose", "ego_y_nose", "ego_x_hip", "ego_y_hip"]
    np.testing.assert_allclose(out.iloc[0, -4:].to_numpy(dtype=float), [2, 0, 0, 3], atol=1e-12)


def test_missing_points_stay_missing_and_a_missing_heading_takes_all() -> None:
    """Two axis points in one place have no direction; a scale of 0 is none."""
    shape = np.random.default_rng(1).normal(size=(4, 3, 2))
    shape[0, 2] = np.nan
    shape[1, 1] = np.nan
    shape[2, 0] = shape[2, 1]
    out = EgocentricPose(None, {**THREE, "origin": 0, "axis": (0, 1)}).apply(posed(shape))
    missing = out[["ego_x_0", "ego_x_1", "ego_x_2"]].isna().to_numpy()
    assert missing.tolist() == [[False, False, True], [True] * 3, [True] * 3, [False] * 3]
    scaled = EgocentricPose(None, {**THREE, "origin": 0, "axis": (0, 1), "scale_column": "body_scale"})
    halved = scaled.apply(posed(shape).assign(body_scale=[2.0, 2.0, 2.0, 0.0]))
    assert halved["ego_x_1"][0] == pytest.approx(out["ego_x_1"][0] / 2)
    assert halved["ego_x_1"].isna().tolist() == [False, True, True, True]


def test_no_row_and_one_row() -> None:
    """Rows are computed one by one."""
    names = [f"pose{axis}{p}" for p in range(3) for axis in "XY"]
    assert_small_frames_work(BodyScale(None, THREE), *names)
    assert_small_frames_work(EgocentricPose(None, THREE), *names, "X", "Y", "ANGLE")


def test_what_is_needed_is_named() -> None:
    """Key points with the way to name them, orientation with the way to do without."""
    with pytest.raises(ArgumentRefused, match=r"poseX1.*pose="):
        BodyScale().apply(frame_of([0.0], poseX0=0.0, poseY0=0.0))
    with pytest.raises(ArgumentRefused, match=r"ANGLE.*axis="):
        EgocentricPose(None, {**THREE, "origin": 0}).apply(posed(BENT))
    scaled = EgocentricPose(None, {**THREE, "origin": 0, "axis": (0, 1), "scale_column": "body_scale"})
    with pytest.raises(ArgumentRefused, match="body_scale"):
        scaled.apply(posed(BENT))
    assert scaled.input_columns[-1] == "body_scale"
    assert EgocentricPose(None, THREE).input_columns[-3:] == ["X", "Y", "ANGLE"]


@pytest.mark.parametrize(
    "params",
    [{"points": (0,)}, {"points": (0, 7)}, {"min_confidence": 2.0}],
    ids=str,
)
def test_wrong_scales_are_refused(params: dict[str, Any]) -> None:
    """One point has no length, and the eighth of seven is not there."""
    with pytest.raises(ArgumentRefused):
        BodyScale(None, params)


@pytest.mark.parametrize(
    "params", [{"origin": 7}, {"axis": (0, 9)}, {"axis": (1, 1)}, {"origin": -1}], ids=str
)
def test_wrong_poses_are_refused(params: dict[str, Any]) -> None:
    """Points that are not there, and an axis from a point to itself."""
    with pytest.raises(ArgumentRefused):
        EgocentricPose(None, params)


def test_a_recording_is_scaled_by_its_animals(tmp_path: Path) -> None:
    """The scale of one feature joins the recording as an input of the other; its output has no unit."""
    record_animals(tmp_path / "store")
    pose = {"pose": {"pose_n": 2}}
    with Dataset(tmp_path / "store") as ds:
        scale = ds.run_feature(BodyScale(None, pose))
        ego = EgocentricPose(["tracks", scale], {**pose, "scale_column": "body_scale"})
        run = ds.run_feature(ego)
        topic = ds.client.sequence_handler("pair").topic(f"features/{run.feature}@{run.run_id}")
        assert topic.schema.field("ego_x_0").metadata is None
        df = dict(ds.results(run))["g0", "pair"]
        np.testing.assert_allclose(df["ego_x_1"] - df["ego_x_0"], 1.0)
