"""An array on the server that grows by events, filled exactly once: each event has its place."""

from __future__ import annotations

from typing import Any

import numpy as np

from gapless.bluesky.tiled_sink.server import child, is_conflict


class ArrayNode:
    """The values of one data key, one event a row. Writing the same rows again changes nothing."""

    def __init__(
        self, key: str, *, metadata: dict[str, Any], dims: tuple[str, ...], access_tags: list[str] | None
    ) -> None:
        self.key = key
        self._metadata, self._dims, self._access_tags = metadata, dims, access_tags
        self.node: Any = None

    def write(self, stream: Any, values: np.ndarray[Any, Any], position: int, *, look: bool) -> None:
        """Write rows from ``position`` on; the array is made by the first, ``look`` where it may be there."""
        if self.node is None:
            self.node = child(stream, self.key) if look else None
        if self.node is None and position == 0 and self._create(stream, values):
            return
        if self.node is None:
            self.node = stream[self.key]
        self.node.patch(values, offset=(position,), extend=True)

    def _create(self, stream: Any, values: np.ndarray[Any, Any]) -> bool:
        """Make the array of its first rows; False where it is there already."""
        import httpx

        try:
            self.node = stream.write_array(
                values,
                key=self.key,
                metadata=self._metadata | {"dtype_numpy": str(values.dtype)},
                dims=self._dims,
                access_tags=self._access_tags,
            )
        except httpx.HTTPStatusError as error:
            if not is_conflict(error):
                raise
            return False
        return True
