"""The packets of a video file without their pixels: how many, when, of which codec and size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import IntegrityError
from gapless.store.media.pyav import load_av


@dataclass(frozen=True)
class Track:
    """The first video stream of a file; one element of the arrays for each packet in the order of the file.

    ``pts``: time shown, in units of ``time_base`` seconds, int64. ``damaged``: packets that are cut or marked so.
    """

    codec: str
    width: int
    height: int
    rate: Fraction | None
    time_base: Fraction
    pts: npt.NDArray[np.int64]
    keyframes: npt.NDArray[np.bool_]
    damaged: int

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """When the pictures are shown, in rising order."""
        ticks: npt.NDArray[np.float64] = np.sort(self.pts).astype(np.float64)
        return ticks * self.time_base.numerator / self.time_base.denominator


def read_track(path: Path) -> Track:
    """Return the packets of a video file; IntegrityError if it cannot be opened or read to its end."""
    pts: list[int] = []
    keys: list[bool] = []
    damaged = 0
    with open_video(path) as (container, stream):
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None or packet.is_corrupt:
                damaged += 1
                continue
            pts.append(packet.pts)
            keys.append(packet.is_keyframe)
        context = stream.codec_context
        return Track(
            context.codec.canonical_name,
            context.width,
            context.height,
            stream.average_rate,
            stream.time_base,
            np.array(pts, np.int64),
            np.array(keys, np.bool_),
            damaged,
        )


def pictures(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pictures in the order they are shown, RGB ``[h, w, 3]``; IntegrityError for damaged ones."""
    with open_video(path) as (container, stream):
        stream.thread_count = 1
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise IntegrityError(
                    "a picture is damaged", found=f"{path.name} at {float(frame.time):.4f} s"
                )
            yield frame.to_ndarray(format="rgb24")


@contextmanager
def open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file and its first video stream; what FFmpeg says of it in the block becomes an IntegrityError."""
    av = load_av()
    try:
        with av.open(str(path.absolute())) as container:  # else FFmpeg takes "10:30" for a protocol
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise IntegrityError("the file holds no video that can be decoded", found=path.name)
            yield container, container.streams.video[0]
    except (av.FFmpegError, EOFError) as error:
        raise IntegrityError("the video cannot be read", found=f"{path.name}: {error}") from error


def still(data: bytes | None) -> npt.NDArray[np.uint8]:
    """Return the picture of a PNG or JPEG file, RGB ``[h, w, 3]``; IntegrityError for what is none."""
    av = load_av()
    try:
        with av.open(io.BytesIO(data or b"")) as container:
            frame = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError, EOFError) as error:
        raise IntegrityError(
            "the bytes are no picture", found=f"{len(data or b'')} bytes: {error}"
        ) from error
    if frame.is_corrupt:
        raise IntegrityError("a picture is damaged", found=f"{len(data or b'')} bytes")
    pixels: npt.NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return pixels
