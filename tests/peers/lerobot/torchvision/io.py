"""``VideoReader`` on PyAV: seeks to a keyframe and yields the pictures from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import torch  # type: ignore[import-not-found]


class VideoReader:
    """Yields ``{"data": uint8 tensor [c, h, w], "pts": seconds}`` from the keyframe at or before the last seek."""

    def __init__(self, path: str, stream: str) -> None:
        assert stream == "video"
        self.container = av.open(path)
        self._video: Any = self.container.streams.video[0]
        self._video.thread_count = 1

    def seek(self, time_s: float, *, keyframes_only: bool) -> VideoReader:
        """Go to the keyframe at or before the time."""
        assert keyframes_only, "the backend pyav asks for keyframes"
        self.container.seek(int(time_s / self._video.time_base), stream=self._video, backward=True)
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for frame in self.container.decode(self._video):
            pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
            yield {"data": pixels.permute(2, 0, 1), "pts": float(frame.pts * frame.time_base)}
