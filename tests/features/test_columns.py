"""Names of columns, key points of poses, and the column that orders rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gapless.errors import ArgumentRefused
from gapless.features.columns import Columns, PoseConfig, resolve_order_col


def test_meta_columns_are_five_and_data_is_none_of_them() -> None:
    """Positions and angles are data."""
    assert Columns().meta_set() == {"id", "sequence", "group", "frame", "time"}
    assert Columns(id_col="animal", x_col="cx").meta_set() == {"animal", "sequence", "group", "frame", "time"}


def test_two_meta_columns_of_one_name_are_refused() -> None:
    """One column cannot mean two things."""
    with pytest.raises(ArgumentRefused, match="two meta columns have one name"):
        Columns(id_col="frame")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize(
    ("names", "order_by", "chosen"),
    [
        (["time", "frame"], "frames", "frame"),
        (["time", "frame"], "time", "time"),
        (["time"], "frames", "time"),
        (["frame"], "time", "frame"),
    ],
)
def test_the_preferred_column_orders_rows_else_the_other(
    make: Any, names: list[str], order_by: Any, chosen: str
) -> None:
    """In pandas, Polars and Arrow alike."""
    table = make({name: [0] for name in names})
    assert resolve_order_col(table, Columns(order_by=order_by)) == chosen


def test_columns_may_have_other_names() -> None:
    """The names are those of the data set; without them the usual ones count."""
    table = pa.table({"f": [1], "frame": [2]})
    assert resolve_order_col(table, Columns(frame_col="f")) == "f"
    assert resolve_order_col(table) == "frame"


def test_a_table_without_order_is_an_error_that_tells_its_columns() -> None:
    """It is a ValueError."""
    with pytest.raises(ArgumentRefused, match="found x, y; expected frame or time"):
        resolve_order_col(pd.DataFrame({"x": [1], "y": [2]}))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"pose_n": 0}, "pose_n"),
        ({"pose_n": 3, "pose_indices": [0, 3]}, r"points that are not there; found \[3\]; expected 0 to 2"),
        ({"pose_indices": [-1]}, "points that are not there"),
        ({"pose_n": 2, "keypoint_names": ["nose"]}, "not one name for each point"),
    ],
)
def test_key_points_that_are_not_there_are_refused(fields: dict[str, Any], told: str) -> None:
    """Indices lie within the points, and names are as many as they."""
    with pytest.raises(ArgumentRefused, match=told):
        PoseConfig(**fields)


def test_a_pose_selects_points() -> None:
    """What is given is kept."""
    pose = PoseConfig(pose_n=2, pose_indices=[1], keypoint_names=["nose", "tail"])
    assert (pose.pose_indices, pose.keypoint_names) == ([1], ["nose", "tail"])
