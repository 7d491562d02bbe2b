"""The pictures of a media topic as one array: picture, height, width, and colour where there is any."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.client.topic_handler import TopicHandler


class FrameSource:
    """Pictures in order of time, decoded from the keyframe before the first one that is asked for."""

    def __init__(self, topic: TopicHandler, version: str) -> None:
        self._topic = topic
        self._version = version

    @property
    def version(self) -> str:
        """A text that changes when the pictures change."""
        return self._version

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of pictures, then the shape of one."""
        return (len(self._times), *self._first.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        found: np.dtype[Any] = self._first.dtype
        return found

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the pictures from ``start`` to before ``stop``."""
        values = np.empty((max(0, stop - start), *self._first.shape), self.dtype)
        if stop <= start:
            return values
        times = self._times
        begin = int(np.searchsorted(times, times[start]))  # pictures of one time come together
        shown = sorted(
            self._topic.frames(int(times[start]), int(times[stop - 1]) + 1), key=lambda frame: frame[0]
        )
        for place, (_, pixels) in enumerate(shown[start - begin : stop - begin]):
            values[place] = pixels
        return values

    @cached_property
    def is_uniform(self) -> bool:
        """True when there is a picture and all have one size and kind."""
        sizes = set()
        for batch in self._topic.scan(["width", "height", "pixels"]):
            sizes |= set(
                zip(*(batch.column(n).to_pylist() for n in ("width", "height", "pixels")), strict=True)
            )
        return len(sizes) == 1

    @cached_property
    def _times(self) -> npt.NDArray[np.int64]:
        times = [batch.column("timestamp_ns").to_numpy() for batch in self._topic.scan([])]
        return np.concatenate(times) if times else np.empty(0, np.int64)

    @cached_property
    def _first(self) -> npt.NDArray[Any]:
        first = int(self._times[0])
        for _, pixels in self._topic.frames(first, first + 1):
            return pixels
        raise IndexError("the topic has no picture")
