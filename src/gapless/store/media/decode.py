"""Decoders: the bytes of one picture in, its pixels out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import IntegrityError
from gapless.store.media.pyav import load_av

_ALONE = {"png": True, "h264": False, "ffv1": True}  # whether each packet is a whole picture
_LOW_DELAY = 0x80000  # AV_CODEC_FLAG_LOW_DELAY: a picture comes out as soon as its bytes are in


class Decoder:
    """Decodes one stream in the order of its packets, beginning at any keyframe.

    ``width`` and ``height`` are those of the first picture; FFV1 does not say them in its bytes.
    """

    def __init__(self, encoding: str, width: int, height: int) -> None:
        if encoding not in _ALONE:
            raise IntegrityError(
                "a picture has an unknown encoding", found=encoding, expected=", ".join(_ALONE)
            )
        self.encoding = encoding
        self._av = load_av(encoding)
        self._context = self._av.CodecContext.create(encoding, "r")
        self._context.thread_count = 1
        self._context.width, self._context.height = width, height
        self._context.flags |= _LOW_DELAY

    def decode(self, data: bytes, pixels: str) -> npt.NDArray[Any]:
        """Return ``[h, w, 3]`` RGB, or ``[h, w]`` where grey was pushed; IntegrityError for damaged bytes."""
        packet = self._av.Packet(data)
        # FFmpeg adds a PNG packet without this mark to the picture before it, as a difference.
        packet.is_keyframe = _ALONE[self.encoding]
        try:
            frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            raise IntegrityError("the bytes of a picture cannot be decoded", found=str(error)) from error
        if len(frames) != 1:
            raise IntegrityError("the bytes of a picture cannot be decoded", found=f"{len(frames)} pictures")
        if self.encoding != "h264":
            array = frames[0].to_ndarray()
        else:
            array = frames[0].to_ndarray(format="gray" if pixels == "mono8" else "rgb24")
        result: npt.NDArray[Any] = np.ascontiguousarray(array)
        return result
