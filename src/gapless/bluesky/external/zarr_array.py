"""An array of a Zarr folder as rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.bluesky.external.dataset import Dataset
from gapless.bluesky.external.external_file import Array, need, unreadable
from gapless.errors import NotFound


class ZarrArray:
    """Opens the folder read-only: the array itself, or ``parameters["dataset"]`` of a group.

    Raises IntegrityError for a folder that is no Zarr, NotFound for one without the array.
    """

    def __init__(self, path: Path, uri: str, parameters: Mapping[str, Any]) -> None:
        zarr = need("zarr")
        name = str(parameters.get("dataset") or parameters.get("path") or "").strip("/")
        try:
            node = zarr.open(path, mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise unreadable(uri, error) from error
        try:
            stored = node[name] if name and hasattr(node, "members") else node
        except KeyError as error:
            raise _without(uri, name) from error
        if not hasattr(stored, "shape"):
            raise _without(uri, name)
        self._dataset = Dataset(stored, parameters.get("slice"))
        self.rows = self._dataset.rows
        self.row_shape = self._dataset.row_shape
        self.dtype = self._dataset.dtype
        self._uri = uri
        self._path = path

    def read(self, start: int, stop: int) -> Array:
        """Return the rows ``[start, stop)``."""
        try:
            return self._dataset.read(start, stop)
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(self._uri, error) from error

    def others(self) -> Iterator[Path]:
        """Yield the symbolic links in the folder, which other files may be behind."""
        for folder, folders, files in os.walk(self._path):
            for name in (*folders, *files):
                path = Path(folder, name)
                if path.is_symlink():
                    yield path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept open between reads."""


def _without(uri: str, name: str) -> NotFound:
    return NotFound(
        "an external folder has no such array",
        found=uri,
        expected=name or "an array, not a group",
        next_step="the resource's parameter dataset names the array",
    )
