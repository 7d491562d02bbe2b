"""Pixels as a file that browsers show: PNG without loss, JPEG for what was lossy before."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gapless.errors import MediaFailed, UsageError
from gapless.store.media.encode import PngEncoder
from gapless.store.media.pyav import load_av

_JPEG_SCALE: Final = "2"  # the best of FFmpeg's: about what others call quality 90
_ANY_RATE: Final = Fraction(1, 30)  # an encoder wants one, a single picture has none
_STARTS: Final = (  # files that browsers show, by their first bytes; what a row says of itself is not believed
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PictureFile:
    """The bytes of one picture and their media type; ``low`` and ``high`` where values were spread for the eye."""

    data: bytes
    media_type: str
    low: int | None = None
    high: int | None = None

    @classmethod
    def stored(cls, data: bytes) -> PictureFile:
        """Return a file as it was recorded; UsageError for one that a browser does not show."""
        for start, media_type in _STARTS:
            if data.startswith(start):
                return cls(data, media_type)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return cls(data, "image/webp")
        raise UsageError(
            "the picture's format is not shown by browsers", found=data[:8].hex(" ") or "no bytes",
            expected="PNG, JPEG, GIF or WebP", next_step="…/data has its bytes",
        )  # fmt: skip

    @classmethod
    def png(cls, array: Pixels, pixels: str) -> PictureFile:
        """Return ``[h, w]`` or ``[h, w, 3]`` without loss, 16 bit as 16 bit."""
        return cls(PngEncoder().encode(array, pixels).data, "image/png")

    @classmethod
    def spread(cls, array: Pixels) -> PictureFile:
        """Return a grey picture as 8 bit PNG: its least value black, its greatest white."""
        low, high = int(array.min()), int(array.max())
        shown = (array.astype(np.float64) - low) * (255 / max(high - low, 1))
        data = PngEncoder().encode(np.rint(shown).astype(np.uint8), "mono8").data
        return cls(data, "image/png", low, high)

    @classmethod
    def jpeg(cls, array: Pixels) -> PictureFile:
        """Return ``[h, w]`` or ``[h, w, 3]`` (RGB) of 8 bit as JPEG."""
        av = load_av("mjpeg")
        kind = "gray" if array.ndim == 2 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=kind)
        context = av.CodecContext.create("mjpeg", "w")
        context.height, context.width = array.shape[:2]
        context.pix_fmt, context.time_base, context.thread_count = "yuvj420p", _ANY_RATE, 1
        context.options = {"qmin": _JPEG_SCALE, "qmax": _JPEG_SCALE}
        frame = frame.reformat(format="yuvj420p", dst_colorspace="ITU601", dst_color_range="JPEG")
        packets = [*context.encode(frame), *context.encode(None)]
        if len(packets) != 1:
            raise MediaFailed("a picture could not be made into a JPEG file", found=f"{len(packets)} packets")
        return cls(bytes(packets[0]), "image/jpeg")
