"""Poses in the object's own frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.columns import PoseConfig
from gapless.features.kit import TableFeature
from gapless.features.library.angle import AngleUnit, in_radians
from gapless.features.library.pose import chosen_points, confidence_columns, keypoints, point_columns
from gapless.features.library.track import meta_columns, number_column

if TYPE_CHECKING:
    import pandas as pd

_ADVICE = "give axis=(from, to) of two key points, or name the column as Columns(orientation_col=...)"


class EgocentricPose(TableFeature):
    """Key points as the object itself sees them: the origin in it, the first axis ahead, the second to its left.

    p' = R(-θ)(p - o). The origin o is the point ``origin``, or the position columns without it; the heading θ is
    the direction from point ``axis[0]`` to ``axis[1]``, or the orientation column without it. With ``scale_column``,
    such as ``body_scale`` of a second input, p' is divided by it and has no unit.

    Output: ``ego_x_<point>`` and ``ego_y_<point>`` for each selected point, by name where the pose has names, else
    by number. A missing point stays missing; without origin, heading or a scale above 0 all points are.
    """

    name: ClassVar[str] = "egocentric-pose"
    version: ClassVar[str] = "1.0"

    class Params(feature_params.Params):
        """Which points, and where origin, heading and scale come from."""

        pose: PoseConfig = Field(default_factory=PoseConfig)
        origin: int | None = Field(default=None, ge=0)
        axis: tuple[int, int] | None = None
        orientation_unit: AngleUnit = "rad"
        min_confidence: float = Field(default=0.0, ge=0.0, le=1.0)
        scale_column: str | None = None

        @model_validator(mode="after")
        def _points_are_there(self) -> EgocentricPose.Params:
            used = [*(self.axis or ()), *([] if self.origin is None else [self.origin])]
            wrong = [point for point in used if not 0 <= point < self.pose.pose_n]
            if wrong:
                raise ArgumentRefused("origin or axis has points that the pose has not", found=wrong)
            if self.axis is not None and self.axis[0] == self.axis[1]:
                raise ArgumentRefused("axis goes from one point to another", found=self.axis)
            return self

    params: Params

    @property
    def input_columns(self) -> list[str]:
        """The columns of the points, and those of origin, heading and scale."""
        params = self.params
        used = {*chosen_points(params.pose), *(params.axis or ())}
        points = sorted(used if params.origin is None else used | {params.origin})
        wanted = point_columns(params.pose, points)
        if params.min_confidence:
            wanted += confidence_columns(params.pose, points)
        if params.origin is None:
            wanted += [self.columns.x_col, self.columns.y_col]
        if params.axis is None:
            wanted.append(self.columns.orientation_col)
        if params.scale_column is not None:
            wanted.append(params.scale_column)
        return wanted

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and the points."""
        import pandas as pd

        points = chosen_points(self.params.pose)
        way = self._points(df, points) - self._origin(df)[:, None, :]
        heading = self._heading(df)[:, None]
        ahead = way[:, :, 0] * np.cos(heading) + way[:, :, 1] * np.sin(heading)
        left = way[:, :, 1] * np.cos(heading) - way[:, :, 0] * np.sin(heading)
        seen = np.stack([ahead, left], axis=2)
        if self.params.scale_column is not None:
            scale = number_column(df, self.params.scale_column, "give the feature that has it as an input")
            seen /= np.where(scale > 0, scale, np.nan)[:, None, None]
        names = self.params.pose.keypoint_names
        called = [f"ego_{axis}_{names[p] if names else p}" for p in points for axis in ("x", "y")]
        table = pd.DataFrame(seen.reshape(len(df), 2 * len(points)), index=df.index, columns=called)
        return pd.concat([df[meta_columns(df, self.columns)], table], axis=1)

    def _points(self, df: pd.DataFrame, points: list[int]) -> NDArray[np.float64]:
        return keypoints(df, self.params.pose, points, self.params.min_confidence)

    def _origin(self, df: pd.DataFrame) -> NDArray[np.float64]:
        if self.params.origin is not None:
            return self._points(df, [self.params.origin])[:, 0]
        position = (self.columns.x_col, self.columns.y_col)
        return np.column_stack([number_column(df, name, "give origin, a key point") for name in position])

    def _heading(self, df: pd.DataFrame) -> NDArray[np.float64]:
        if self.params.axis is None:
            angle = number_column(df, self.columns.orientation_col, _ADVICE)
            return in_radians(angle, self.params.orientation_unit)
        ends = self._points(df, list(self.params.axis))
        way = ends[:, 1] - ends[:, 0]
        way[~way.any(axis=1)] = np.nan  # two points in one place have no direction
        return np.arctan2(way[:, 1], way[:, 0])
