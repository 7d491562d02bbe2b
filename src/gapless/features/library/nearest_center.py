"""The centre that is nearest to each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK_DISTANCES = 4_000_000


def nearest_center(
    values: NDArray[np.float64], centers: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return for each row the number of the nearest centre, of several the first, and its Euclidean distance."""
    from scipy.spatial.distance import cdist

    number = np.empty(len(values), dtype=np.int64)
    distance = np.empty(len(values))
    at_once = max(_CHUNK_DISTANCES // len(centers), 1)
    for low in range(0, len(values), at_once):
        rows = slice(low, low + at_once)
        every = cdist(values[rows], centers)
        number[rows] = every.argmin(axis=1)
        distance[rows] = every.min(axis=1)
    return number, distance


def by_size(centers: NDArray[np.float64], labels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return the order of clusters, the largest first, of equals by their centres, and their sizes in it."""
    sizes = np.bincount(labels, minlength=len(centers))
    order = np.lexsort((*centers.T[::-1], -sizes))
    return order, sizes[order]


def cluster_columns(
    values: NDArray[np.float64], known: NDArray[np.bool_], centers: NDArray[np.float64]
) -> dict[str, Any]:
    """Return ``cluster`` (integers, missing where not known) and ``cluster_distance``."""
    import pandas as pd

    number, distance = nearest_center(values, centers)
    cluster = np.zeros(len(known), dtype=np.int64)
    far = np.full(len(known), np.nan)
    cluster[known], far[known] = number, distance
    return {"cluster": pd.arrays.IntegerArray(cluster, ~known), "cluster_distance": far}
