"""Nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree
from tests.features.library.recordings import frame_of, record_animals

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.library.nearest_neighbor import NearestNeighbor, nearest

NO_BEARING = NearestNeighbor(None, {"bearing": False})


@settings(max_examples=60, deadline=None)
@given(
    objects=st.lists(st.sampled_from([1, 2, 3, 5, 40]), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    grid=st.booleans(),
)
def test_distances_are_those_of_a_tree(objects: list[int], seed: int, grid: bool) -> None:
    """Of few and of many objects, of several in one place, moment by moment, whatever the order of rows."""
    random = np.random.default_rng(seed)
    moments = np.repeat(np.arange(len(objects)), objects)
    position = random.normal(size=(len(moments), 2))
    position = np.round(position) if grid else position
    mixed = random.permutation(len(moments))
    found = nearest(moments[mixed], position[mixed])
    for row, other in zip(mixed, np.where(found < 0, -1, mixed[found]), strict=True):
        together = np.flatnonzero(moments == moments[row])
        if len(together) == 1:
            assert other == -1
            continue
        assert other != row
        assert moments[other] == moments[row]
        distance = KDTree(position[together]).query(position[row], k=2)[0][1]
        assert np.hypot(*(position[other] - position[row])) == pytest.approx(distance)


def test_the_way_and_the_bearing_by_hand() -> None:
    """a looks along x, b is to its left; b looks along y, a is behind and to its left; c is far away."""
    df = frame_of(
        [0.0, 0.0, 0.0], ["a", "b", "c"], X=[0.0, 3.0, 50.0], Y=[0.0, 4.0, 50.0], ANGLE=[0.0, np.pi / 2, 0.0]
    )
    out = NearestNeighbor().apply(df)
    assert out["nn_id"].tolist() == ["b", "a", "b"]
    assert out["nn_distance"].tolist()[:2] == [5.0, 5.0]
    assert out[["nn_dx", "nn_dy"]].to_numpy().tolist()[:2] == [[3.0, 4.0], [-3.0, -4.0]]
    left = np.arctan2(4, 3)
    np.testing.assert_allclose(out["nn_bearing"][:2], [left, left - np.pi - np.pi / 2 + 2 * np.pi])
    degrees = df.assign(ANGLE=np.rad2deg(df["ANGLE"]))
    same = NearestNeighbor(None, {"orientation_unit": "deg"}).apply(degrees)
    np.testing.assert_allclose(same["nn_bearing"], out["nn_bearing"])


@pytest.mark.parametrize("ids", [[7, 8, 9], ["a", "b", "c"]])
def test_an_object_without_position_has_none_and_is_nobodys(ids: list[object]) -> None:
    """Ids keep their type when some are missing."""
    df = frame_of([0.0, 0.0, 0.0, 1.0], [*ids, ids[0]], X=[0.0, 1.0, np.nan, 0.0], Y=0.0)
    out = NO_BEARING.apply(df)
    assert out["nn_id"].isna().tolist() == [False, False, True, True]
    assert out["nn_id"].tolist()[:2] == [ids[1], ids[0]]
    assert out["nn_distance"].isna().tolist() == [False, False, True, True]
    alone = NO_BEARING.apply(df.iloc[:0])
    assert alone["nn_id"].dtype == NO_BEARING.apply(df.iloc[3:])["nn_id"].dtype or alone.empty


def test_no_row_and_one_row() -> None:
    """One row has no neighbour."""
    df = frame_of([0.0], [1], X=[0.0], Y=[0.0], ANGLE=[0.0])
    one, none = NearestNeighbor().apply(df), NearestNeighbor().apply(df.iloc[:0])
    assert (len(one), len(none)) == (1, 0)
    assert list(one.columns) == list(none.columns)
    assert one["nn_id"].isna().all()


def test_what_is_needed_is_named() -> None:
    """Ids; and the orientation, with the way to do without."""
    df = frame_of([0.0, 0.0], [1, 2], X=[0.0, 1.0], Y=[0.0, 1.0])
    with pytest.raises(ArgumentRefused, match="bearing=False"):
        NearestNeighbor().apply(df)
    with pytest.raises(ArgumentRefused, match="with an id"):
        NO_BEARING.apply(df.drop(columns="id"))
    assert "nn_bearing" not in NO_BEARING.apply(df).columns
    assert NO_BEARING.input_columns == ("X", "Y")


def test_missing_ids_and_times_fall_apart_into_moments() -> None:
    """Rows are compared only with rows of their own time stamp, not of their frame's number."""
    df = frame_of([0.0, 0.1], [1, 2], X=[0.0, 1.0], Y=0.0).assign(frame=0)
    assert NO_BEARING.apply(df)["nn_id"].isna().all()
    assert NO_BEARING.apply(df.drop(columns="timestamp_ns"))["nn_id"].tolist() == [2, 1]


def test_a_recording_has_neighbours(tmp_path: Path) -> None:
    """Ids, distances and bearings of two animals, one of which walks away."""
    record_animals(tmp_path / "store")
    with Dataset(tmp_path / "store") as ds:
        run = ds.run_feature(NearestNeighbor())
        df = dict(ds.results(run))["g0", "pair"]
        assert set(df.loc[df["id"] == 1, "nn_id"]) == {2}
        np.testing.assert_allclose(df.loc[df["id"] == 2, "nn_distance"], 1.0 + np.arange(20))
        np.testing.assert_allclose(abs(df.loc[df["id"] == 1, "nn_bearing"]), np.pi)
        assert isinstance(df, pd.DataFrame)
