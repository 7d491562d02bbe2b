"""Key points of a pose as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gapless.errors import ArgumentRefused
from gapless.features.columns import PoseConfig
from gapless.features.library.track import numbers

if TYPE_CHECKING:
    import pandas as pd


def chosen_points(pose: PoseConfig) -> list[int]:
    """Return the points that the configuration selects, by number."""
    return list(range(pose.pose_n)) if pose.pose_indices is None else list(pose.pose_indices)


def point_columns(pose: PoseConfig, points: Sequence[int]) -> list[str]:
    """Return the columns of x and y of each point."""
    return [f"{prefix}{point}" for point in points for prefix in (pose.x_prefix, pose.y_prefix)]


def confidence_columns(pose: PoseConfig, points: Sequence[int]) -> list[str]:
    """Return the column of the confidence of each point."""
    return [f"{pose.confidence_prefix}{point}" for point in points]


def keypoints(
    df: pd.DataFrame, pose: PoseConfig, points: Sequence[int], min_confidence: float
) -> NDArray[np.float64]:
    """Return rows × points × (x, y).

    A point whose confidence is missing or below ``min_confidence`` is missing; 0 reads no confidence. Raises
    ArgumentRefused for a column that is not there.
    """
    wanted = point_columns(pose, points)
    if min_confidence > 0:
        wanted += confidence_columns(pose, points)
    missing = [name for name in wanted if name not in df.columns]
    if missing:
        raise ArgumentRefused(
            "the frame lacks a column of the pose", field=missing[0], found=list(df.columns),
            next_step="say in pose= how many points there are and what their columns are called",
        )  # fmt: skip
    place = numbers(df, point_columns(pose, points)).reshape(len(df), len(points), 2)
    if min_confidence > 0:
        place[~(numbers(df, confidence_columns(pose, points)) >= min_confidence)] = np.nan
    return place
