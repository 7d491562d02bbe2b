"""What the columns of a data set are called."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features.strict_model import StrictModel


class Columns(StrictModel):
    """Names of the columns that have a meaning for every feature, given once with the data set.

    ``order_by`` is the column that orders rows where both are there.
    """

    id_col: str = "id"
    seq_col: str = "sequence"
    group_col: str = "group"
    frame_col: str = "frame"
    time_col: str = "time"
    order_by: Literal["frames", "time"] = "frames"
    x_col: str = "X"
    y_col: str = "Y"
    orientation_col: str = "ANGLE"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(self.meta_set()) < 5:
            raise ArgumentRefused("two meta columns have one name", found=sorted(self.meta_set()))
        return self

    def meta_set(self) -> set[str]:
        """Return the five columns that say which row it is; positions and angles are data."""
        return {self.id_col, self.seq_col, self.group_col, self.frame_col, self.time_col}


class PoseConfig(StrictModel):
    """Which columns hold the key points of a pose: ``<prefix><index>`` for each of ``pose_n`` points.

    ``pose_indices`` selects points, None all. ``keypoint_names`` has a name for each of the ``pose_n``.
    """

    pose_n: int = Field(default=7, ge=1)
    pose_indices: list[int] | None = None
    x_prefix: str = "poseX"
    y_prefix: str = "poseY"
    confidence_prefix: str = "poseP"
    keypoint_names: list[str] | None = None

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        wrong = [index for index in self.pose_indices or () if not 0 <= index < self.pose_n]
        if wrong:
            raise ArgumentRefused(
                "pose_indices has points that are not there", found=wrong, expected=f"0 to {self.pose_n - 1}"
            )
        if self.keypoint_names is not None and len(self.keypoint_names) != self.pose_n:
            raise ArgumentRefused(
                "keypoint_names has not one name for each point",
                found=len(self.keypoint_names), expected=self.pose_n,
            )  # fmt: skip
        return self


def resolve_order_col(df: Any, columns: Columns | None = None) -> str:
    """Return the column that orders the rows: the preferred one, else the other one.

    ``df`` is a pandas or Polars frame or an Arrow table. Raises ArgumentRefused if it has neither.
    """
    chosen = columns or Columns()
    order = [chosen.frame_col, chosen.time_col]
    if chosen.order_by == "time":
        order.reverse()
    names = list(df.column_names if hasattr(df, "column_names") else df.columns)
    for name in order:
        if name in names:
            return name
    raise ArgumentRefused(
        "the table has no column that orders its rows", found=", ".join(map(str, names)),
        expected=" or ".join(order),
    )  # fmt: skip
