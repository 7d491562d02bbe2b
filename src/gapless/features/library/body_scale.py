"""How long an object is, as a unit of length for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.columns import PoseConfig
from gapless.features.kit import TableFeature
from gapless.features.library.pose import confidence_columns, keypoints, point_columns
from gapless.features.library.track import meta_columns, tracks_of

if TYPE_CHECKING:
    import pandas as pd


class BodyScale(TableFeature):
    """The length of each object: the median over time of the way along some of its key points.

    The way is the sum of the distances from point to point of ``points``; a row in which one of them is missing
    does not count. With ``per="sequence"`` it is one median over the rows of all objects.

    Output: ``body_scale`` in the unit of the key points, the same in every row of an object, so that it is joined
    with other features by time and id. NaN where no row has all points.
    """

    name: ClassVar[str] = "body-scale"
    version: ClassVar[str] = "1.0"

    class Params(feature_params.Params):
        """``points`` by number, from one end to the other; a point below ``min_confidence`` is missing."""

        pose: PoseConfig = Field(default_factory=PoseConfig)
        points: Annotated[tuple[int, ...], Field(min_length=2)] = (0, 1)
        min_confidence: float = Field(default=0.0, ge=0.0, le=1.0)
        per: Literal["object", "sequence"] = "object"

        @model_validator(mode="after")
        def _points_are_there(self) -> BodyScale.Params:
            wrong = [point for point in self.points if not 0 <= point < self.pose.pose_n]
            if wrong:
                raise ArgumentRefused("points has points that the pose has not", found=wrong)
            return self

    params: Params

    @property
    def input_columns(self) -> list[str]:
        """The columns of the points."""
        points = sorted(set(self.params.points))
        confidence = confidence_columns(self.params.pose, points) if self.params.min_confidence else []
        return point_columns(self.params.pose, points) + confidence

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and body_scale."""
        params = self.params
        place = keypoints(df, params.pose, params.points, params.min_confidence)
        step = np.diff(place, axis=1)
        length = np.hypot(step[:, :, 0], step[:, :, 1]).sum(axis=1)
        scale = np.full(len(df), _median(length))
        if params.per == "object":
            for track in tracks_of(df, self.columns):
                scale[track.rows] = _median(length[track.rows])
        return df[meta_columns(df, self.columns)].assign(body_scale=scale)


def _median(length: NDArray[np.float64]) -> float:
    known = length[np.isfinite(length)]
    return float(np.median(known)) if len(known) else np.nan
