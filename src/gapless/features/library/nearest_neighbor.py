"""Which other object is nearest, how far, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.kit import TableFeature
from gapless.features.library.angle import AngleUnit, in_radians, wrapped
from gapless.features.library.track import complete, meta_columns, number_column
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

_FEW = 32  # up to so many objects at a time all distances are cheaper than a tree
_CHUNK_DISTANCES = 4_000_000
_ADVICE = "set bearing=False, or name the column as Columns(orientation_col=...)"


class NearestNeighbor(TableFeature):
    """The nearest other object at the same time, by Euclidean distance in the plane.

    Output for each row: ``nn_id`` the neighbour's id, ``nn_distance`` how far it is, ``nn_dx`` and ``nn_dy`` the way
    to it, and with ``bearing`` ``nn_bearing``, the angle from the own orientation to it in [-π, π) rad,
    counter-clockwise positive where y points up. Of several at one distance it is always the same one.

    An object without a position has no neighbour and is nobody's; all outputs are missing where there is none.
    """

    name: ClassVar[str] = "nearest-neighbor"
    version: ClassVar[str] = "1.0"
    units: ClassVar[dict[str, str]] = {"nn_bearing": "rad"}

    class Params(feature_params.Params):
        """``bearing`` needs the orientation column, which is in ``orientation_unit``."""

        bearing: bool = True
        orientation_unit: AngleUnit = "rad"

    params: Params

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Positions, and the orientation if it is used."""
        position = (self.columns.x_col, self.columns.y_col)
        return (*position, self.columns.orientation_col) if self.params.bearing else position

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and the neighbour of each row."""
        if self.columns.id_col not in df.columns:
            raise ArgumentRefused(
                "neighbours are objects with an id", found=list(df.columns), expected=self.columns.id_col
            )
        position = np.column_stack(
            [number_column(df, name) for name in (self.columns.x_col, self.columns.y_col)]
        )
        neighbour = nearest(self._moments(df), position)
        alone = neighbour < 0
        way = position[neighbour] - position
        way[alone] = np.nan
        out = df[meta_columns(df, self.columns)].assign(
            nn_id=self._ids(df, neighbour, alone), nn_distance=np.hypot(way[:, 0], way[:, 1]),
            nn_dx=way[:, 0], nn_dy=way[:, 1],
        )  # fmt: skip
        if self.params.bearing:
            own = number_column(df, self.columns.orientation_col, _ADVICE)
            direction = np.arctan2(way[:, 1], way[:, 0])
            out["nn_bearing"] = wrapped(direction - in_radians(own, self.params.orientation_unit))
        return out

    def _moments(self, df: pd.DataFrame) -> NDArray[Any]:
        for name in (TIME, self.columns.frame_col, self.columns.time_col):
            if name in df.columns:
                return df[name].to_numpy()
        raise ArgumentRefused("the frame has no time", found=list(df.columns), expected=TIME)

    def _ids(self, df: pd.DataFrame, neighbour: NDArray[np.intp], alone: NDArray[np.bool_]) -> Any:
        """Return the neighbours' ids in a type that can hold missing ones."""
        ids = df[self.columns.id_col].convert_dtypes().array
        found = ids.take(neighbour)
        found[alone] = ids.dtype.na_value
        return found


def nearest(moments: NDArray[Any], position: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each row the row of the nearest other one at the same moment, -1 where there is none.

    ``position``: rows × dimensions; a row with a missing coordinate takes no part.
    """
    neighbour = np.full(len(position), -1, dtype=np.intp)
    for rows in _together(moments, np.flatnonzero(complete(position))):
        found = _by_distances(position[rows]) if rows.shape[1] <= _FEW else _by_tree(position[rows])
        neighbour[rows] = np.take_along_axis(rows, found, axis=1)
    return neighbour


def _together(moments: NDArray[Any], rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield rows of equal moments, moments × objects, for each number of objects from two on."""
    rows = rows[np.argsort(moments[rows], kind="stable")]
    _, start, count = np.unique(moments[rows], return_index=True, return_counts=True)
    for objects in np.unique(count[count > 1]):
        first = start[count == objects]
        at_once = max(_CHUNK_DISTANCES // objects**2, 1)
        for low in range(0, len(first), at_once):
            yield rows[first[low : low + at_once, None] + np.arange(objects)]


def _by_distances(position: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place of the nearest other object (moments × objects) from all distances."""
    way = position[:, :, None, :] - position[:, None, :, :]
    squared = np.einsum("mijd,mijd->mij", way, way)
    itself = np.arange(position.shape[1])
    squared[:, itself, itself] = np.inf
    found: NDArray[np.intp] = squared.argmin(axis=2)
    return found


def _by_tree(position: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the same by one KD-tree for each moment."""
    from scipy.spatial import KDTree

    out = np.empty(position.shape[:2], dtype=np.intp)
    itself = np.arange(position.shape[1])
    for moment, points in enumerate(position):
        pair = KDTree(points).query(points, k=2)[1]
        out[moment] = np.where(pair[:, 1] == itself, pair[:, 0], pair[:, 1])
    return out
