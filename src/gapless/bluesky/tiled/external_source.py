"""External values of a data key as one array: an event along the first axis, or its frames joined."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.bluesky.external.external_key import ExternalKey
from gapless.errors import GaplessError


class ExternalSource:
    """The values of all events that have one. The files tell shape and type, the data key where they cannot."""

    def __init__(self, key: ExternalKey, version: str) -> None:
        self._key = key
        self._version = version

    @property
    def version(self) -> str:
        """A text that changes when the values change."""
        return f"{self._version}\n{self._key.name}"

    @property
    def events(self) -> int:
        """The number of events that have a value."""
        return len(self._key)

    @property
    def shape(self) -> tuple[int, ...]:
        """The length along each axis."""
        inner = self._one.shape[1:]
        if self._joined:
            return (self.events * inner[0], *inner[1:])
        return (self.events, *inner)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values."""
        found: np.dtype[Any] = self._one.dtype
        return found

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the values from ``start`` to before ``stop`` along the first axis."""
        if not self._joined:
            return self._key.read(slice(start, stop))
        each = max(1, self._one.shape[1])
        first = start // each
        values = self._key.read(slice(first, -(-stop // each)))
        return values[start - first * each : stop - first * each]

    @property
    def _joined(self) -> bool:
        return self._key.join == "concat" and self._one.ndim > 1

    @cached_property
    def _one(self) -> npt.NDArray[Any]:
        """Return an array with one event along the first axis, as it is or as it was declared."""
        if self.events:
            try:
                one = self._key.read(0)
                return one[np.newaxis]
            except GaplessError:  # the file is gone: its place in the tree stays, and reading it says why
                return self._declared
        return self._declared

    @property
    def _declared(self) -> npt.NDArray[Any]:
        shape = tuple(size or 0 for size in self._key.event_shape)
        return np.broadcast_to(np.zeros((), self._key.declared_dtype or np.float64), (1, *shape))
