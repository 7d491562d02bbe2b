"""Encoders: one picture in, its bytes out at once, the same bytes for the same pictures on any machine's load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gapless.errors import MediaFailed
from gapless.store.media.pyav import load_av
from gapless.store.media.rows import Media

GOP = 30  # pictures from keyframe to keyframe: what a reader decodes at most to show one of them
_AV_NAMES = {"rgb8": "rgb24", "bgr8": "bgr24", "mono8": "gray", "mono16": "gray16be"}
_FFV1_NAMES = {"mono16": "gray16le"}
_BT601, _LIMITED = 6, 1  # written into the stream, so that every player turns it into the same colours
# Version 1 repeats the header in every keyframe, and needs this coder above 8 bits.
FFV1_OPTIONS = {"level": "1", "coder": "1"}
_RATE = Fraction(30, 1)  # only the rate control sees it; the times of pictures are in their rows


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of one picture."""

    data: bytes
    keyframe: bool


class Encoder(Protocol):
    """Encodes the pictures of one topic, in order."""

    encoding: str

    def encode(self, array: npt.NDArray[Any], pixels: str) -> Encoded:
        """Return the picture's bytes; any error means that the stream ends here."""


def make_encoder(media: Media) -> Encoder:
    """Return an encoder, or raise MissingExtra."""
    return _ENCODERS[media]()


class PngEncoder:
    """PNG without loss, at zlib's fastest level: higher ones cost three times as much for 5 % of the size."""

    encoding = "png"

    def __init__(self) -> None:
        self._av = load_av("png")
        self._context: Any = None
        self._reformatter = self._av.video.reformatter.VideoReformatter()

    def encode(self, array: npt.NDArray[Any], pixels: str) -> Encoded:
        """Return a PNG file."""
        if self._context is None:
            stored = "rgb24" if pixels == "bgr8" else _AV_NAMES[pixels]
            self._context = _context(self._av, "png", array, stored)
            # A row's difference to its left neighbour: smaller and, for fewer bytes to pack, faster than none.
            self._context.options = {"compression_level": "1", "pred": "sub"}
        frame = _frame(self._av, array, pixels)
        if pixels == "bgr8":
            frame = self._reformatter.reformat(frame, format="rgb24")
        return Encoded(_only(self._context.encode(frame))[0], keyframe=True)


class H264Encoder:
    """H.264 by libx264: no B-frames and no look-ahead, so that each picture's bytes come at once."""

    encoding = "h264"

    def __init__(self) -> None:
        self._av = load_av("libx264", "h264")
        self._context: Any = None
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._options: dict[str, Any] = {}
        self._count = 0

    def encode(self, array: npt.NDArray[Any], pixels: str) -> Encoded:
        """Return one access unit; a keyframe carries its parameter sets."""
        frame = _frame(self._av, array, pixels)
        if self._context is None:
            self._open(array)
            self._options = self._conversion(frame)
        frame = self._reformatter.reformat(frame, format="yuv420p", **self._options)
        frame.pts = self._count
        self._count += 1
        data, keyframe = _only(self._context.encode(frame))
        return Encoded(data, keyframe)

    def _open(self, array: npt.NDArray[Any]) -> None:
        context = _context(self._av, "libx264", array, "yuv420p")
        context.gop_size = GOP
        context.max_b_frames = 0
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _LIMITED
        context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
        self._context = context

    def _conversion(self, frame: Any) -> dict[str, Any]:
        """Return the conversion's options; it stays on this thread where the PyAV can be told so."""
        options: dict[str, Any] = {"dst_colorspace": "ITU601", "dst_color_range": "MPEG"}
        try:
            self._reformatter.reformat(frame, format="yuv420p", threads=1)
        except TypeError:  # an older PyAV, which has no threads for it and no word for them
            return options
        return options | {"threads": 1}


class Ffv1Encoder:
    """FFV1 without loss. Each frame carries its own header, so that any one can be decoded alone."""

    encoding = "ffv1"

    def __init__(self) -> None:
        self._av = load_av("ffv1")
        self._context: Any = None
        self._count = 0

    def encode(self, array: npt.NDArray[Any], pixels: str) -> Encoded:
        """Return one frame."""
        stored = _FFV1_NAMES[pixels]
        if self._context is None:
            self._context = _context(self._av, "ffv1", array, stored)
            self._context.gop_size = 1
            self._context.options = dict(FFV1_OPTIONS)
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(array, "<u2"), format=stored)
        frame.pts = self._count
        self._count += 1
        return Encoded(*_only(self._context.encode(frame)))


_ENCODERS: dict[Media, Callable[[], Encoder]] = {
    Media.PNG: PngEncoder,
    Media.MP4: H264Encoder,
    Media.FFV1: Ffv1Encoder,
}


def _context(av: Any, codec: str, array: npt.NDArray[Any], pixel_format: str) -> Any:
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = array.shape[:2]
    context.pix_fmt = pixel_format
    context.time_base = 1 / _RATE
    context.framerate = _RATE
    context.thread_count = 1  # more threads hold pictures back, and may make other bytes of them
    return context


def _frame(av: Any, array: npt.NDArray[Any], pixels: str) -> Any:
    if pixels == "mono16":  # stored with the high byte first: from_ndarray swaps
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(array, np.uint16), format="gray16be")
    return av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(array), format=_AV_NAMES[pixels])


def _only(packets: list[Any]) -> tuple[bytes, bool]:
    if len(packets) != 1:
        raise MediaFailed(
            "the encoder did not give one packet for one picture", found=f"{len(packets)} packets"
        )
    return bytes(packets[0]), bool(packets[0].is_keyframe)
