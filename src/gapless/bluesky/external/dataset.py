"""A dataset of a container file, HDF5 or Zarr, as rows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gapless.bluesky.external.external_file import Array
from gapless.bluesky.external.selection import DatasetSelection


class StoredArray(Protocol):
    """What h5py and zarr have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of each element."""

    def __getitem__(self, index: Any) -> Any:
        """Return a part, read from disk now."""


class Dataset:
    """The rows of one stored array, of which a ``slice`` may be meant."""

    def __init__(self, stored: StoredArray, words: Any = None) -> None:
        self._stored = stored
        self._selection = DatasetSelection(tuple(stored.shape), words)
        self.rows = self._selection.rows
        self.row_shape = self._selection.row_shape
        self.dtype = np.dtype(stored.dtype)

    def read(self, start: int, stop: int) -> Array:
        """Return the rows ``[start, stop)``; nothing else is read from disk."""
        if start >= stop:
            return np.empty((0, *self.row_shape), self.dtype)
        values = np.asarray(self._stored[self._selection.of_rows(start, stop)])
        return values.reshape(stop - start, *self.row_shape)
