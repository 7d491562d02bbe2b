"""A TIFF file as rows: its pages, of which a picture of a sequence has one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gapless.bluesky.external.external_file import Array, need, unreadable


class TiffFile:
    """Opens one file; each page is a row, read when it is asked for. Raises IntegrityError for no TIFF."""

    def __init__(self, path: Path, uri: str) -> None:
        tifffile = need("tifffile")
        self._uri = uri
        self._broken: tuple[type[Exception], ...] = (tifffile.TiffFileError, OSError, ValueError)
        try:
            self._file = tifffile.TiffFile(path)
            first = self._file.pages[0]
            self.rows = len(self._file.pages)
        except (*self._broken, IndexError) as error:
            raise unreadable(uri, error) from error
        self.row_shape: tuple[int, ...] = tuple(first.shape)
        self.dtype: np.dtype[Any] = np.dtype(first.dtype)

    def read(self, start: int, stop: int) -> Array:
        """Return the pages ``[start, stop)``."""
        out = np.empty((stop - start, *self.row_shape), self.dtype)
        for place, page in enumerate(range(start, stop)):
            try:
                out[place] = self._page(page)
            except self._broken as error:
                raise unreadable(self._uri, error) from error
        return out

    def _page(self, number: int) -> Array:
        values: Array = self._file.pages[number].asarray()
        if values.dtype != self.dtype:
            raise ValueError(f"page {number} is of {values.dtype}, the first of {self.dtype}")
        return values

    def others(self) -> Iterable[Path]:
        """Return nothing: the file has all of it."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
