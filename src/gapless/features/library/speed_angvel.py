"""How fast objects move and turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gapless.features import params as feature_params
from gapless.features.kit import TableFeature
from gapless.features.library.angle import AngleUnit, in_radians, unwrapped
from gapless.features.library.derivative import rate_of_change
from gapless.features.library.track import Positive, meta_columns, number_column, tracks_of
from gapless.features.library.unit import rate

if TYPE_CHECKING:
    import pandas as pd

_ADVICE = 'set heading="movement", or name the column as Columns(orientation_col=...)'


class SpeedAngvel(TableFeature):
    """Speed and angular velocity of each object in the plane.

    ``speed`` = √(ẋ² + ẏ²) in the unit of the positions per second, ``angvel`` = the rate of the heading in rad/s,
    counter-clockwise positive where y points up, by the shortest way round. Derivatives are those of
    :class:`~gapless.features.library.derivative.Derivative`. With ``heading="orientation"`` the heading is the
    orientation column, with ``"movement"`` the direction of movement, which an object at rest does not have.

    Output: ``speed``, ``angvel``; NaN beside missing values, across gaps and for a single row.
    """

    name: ClassVar[str] = "speed-angvel"
    version: ClassVar[str] = "1.0"
    units: ClassVar[dict[str, str]] = {"angvel": "rad/s"}

    class Params(feature_params.Params):
        """``orientation_unit`` of the orientation column; ``max_gap_s``: no difference across more, None any."""

        heading: Literal["orientation", "movement"] = "orientation"
        orientation_unit: AngleUnit = "rad"
        max_gap_s: Positive | None = None

    params: Params

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Positions, and the orientation if it is used."""
        position = (self.columns.x_col, self.columns.y_col)
        return (*position, self.columns.orientation_col) if self._by_orientation else position

    @property
    def _by_orientation(self) -> bool:
        return bool(self.params.heading == "orientation")

    def derived_units(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Return the unit of the speed where both positions have one and the same."""
        both = {recorded.get(name) for name in (self.columns.x_col, self.columns.y_col)}
        unit = both.pop()
        return {"speed": rate(unit)} if unit is not None and not both else {}

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns, speed and angvel."""
        position = np.column_stack(
            [number_column(df, name) for name in (self.columns.x_col, self.columns.y_col)]
        )
        angle = None
        if self._by_orientation:
            angle = number_column(df, self.columns.orientation_col, _ADVICE)
            angle = in_radians(angle, self.params.orientation_unit)
        speed, angvel = np.full((2, len(df)), np.nan)
        for track in tracks_of(df, self.columns):
            for piece in track.pieces(self.params.max_gap_s):
                velocity = rate_of_change(piece.time_s, position[piece.rows])
                speed[piece.rows] = np.hypot(velocity[:, 0], velocity[:, 1])
                heading = angle[piece.rows] if angle is not None else _direction(velocity)
                angvel[piece.rows] = rate_of_change(piece.time_s, unwrapped(heading)[:, None])[:, 0]
        return df[meta_columns(df, self.columns)].assign(speed=speed, angvel=angvel)


def _direction(velocity: NDArray[np.float64]) -> NDArray[np.float64]:
    direction = np.arctan2(velocity[:, 1], velocity[:, 0])
    direction[~velocity.any(axis=1)] = np.nan
    return direction
