"""Pictures on their way to an encoder: checked at the push, viewed without a copy."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import ValueRefused
from gapless.store.media.rows import Media

_FORMATS: dict[str, tuple[int, str]] = {  # channels and NumPy type of one
    "rgb8": (3, "u1"),
    "bgr8": (3, "u1"),
    "mono8": (1, "u1"),
    "mono16": (1, "u2"),
}
_TAKES = {
    Media.PNG: ("rgb8", "bgr8", "mono8", "mono16"),
    Media.MP4: ("rgb8", "bgr8", "mono8"),
    Media.FFV1: ("mono16",),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels ``[height, width]`` or ``[height, width, 3]``; ``lasting`` if nobody can change them any more."""

    array: npt.NDArray[Any]
    pixels: str
    lasting: bool

    @property
    def kind(self) -> tuple[int, int, str]:
        """Height, width and pixels: what may not change within a topic."""
        return self.array.shape[0], self.array.shape[1], self.pixels


class PictureReader:
    """Makes pictures of what is pushed into one topic; refuses what its encoder cannot take."""

    def __init__(self, sequence: str, topic: str, media: Media) -> None:
        self.sequence = sequence
        self.topic = topic
        self.media = media

    def of_array(self, array: Any) -> Picture:
        """Return uint8 ``[h, w]`` or ``[h, w, 3]`` (RGB), or for png and ffv1 uint16 ``[h, w]``, as a picture."""
        if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16):
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise self._refuse("an image must be an array of uint8 or uint16", "data", found, "uint8 array")
        if array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8:
            pixels = "rgb8"
        elif array.ndim == 2:
            pixels = "mono8" if array.dtype == np.uint8 else "mono16"
        else:
            raise self._refuse(
                "an image has the wrong shape", "data", f"{array.dtype} {array.shape}", "[h, w] or [h, w, 3]"
            )
        return self._checked(Picture(array, pixels, _is_lasting(array)))

    def of_image(self, values: tuple[Any, ...]) -> Picture:
        """Return the column values of an ``Image`` as a picture: raw pixels, row by row."""
        data, form, width, height, stride, pixels, big_endian = values
        if form != "raw":
            raise self._refuse("the encoder takes raw pixels", "format", form, "raw")
        if pixels not in _FORMATS:
            raise self._refuse("unknown pixels", "encoding", pixels, ", ".join(_TAKES[self.media]))
        channels, code = _FORMATS[pixels]
        w, h = self._count("width", width), self._count("height", height)
        row_bytes = w * channels * int(code[1])
        step = self._count("stride", stride)
        if step < row_bytes:
            raise self._refuse("rows of pixels overlap", "stride", step, f"at least {row_bytes}")
        raw = self._bytes(data)
        if len(raw) < step * (h - 1) + row_bytes:
            raise self._refuse(
                "the bytes end before the last row",
                "data",
                f"{len(raw)} bytes",
                f"{step * (h - 1) + row_bytes}",
            )
        order = ">" if big_endian else "<"
        shape, strides = (h, w), (step, channels * int(code[1]))
        if channels > 1:
            shape, strides = (*shape, channels), (*strides, int(code[1]))  # type: ignore[assignment]
        array: npt.NDArray[Any] = np.ndarray(shape, f"{order}{code}", raw, 0, strides)
        return self._checked(Picture(array, pixels, isinstance(data, bytes)))

    def _checked(self, picture: Picture) -> Picture:
        height, width, pixels = picture.kind
        if pixels not in _TAKES[self.media]:
            raise self._refuse(
                f"media={self.media!s} cannot hold these pixels",
                "encoding",
                pixels,
                ", ".join(_TAKES[self.media]),
            )
        if not (height and width):
            raise self._refuse("an image has no pixels", "data", f"{width} x {height}", "at least 1 x 1")
        if self.media is Media.MP4 and (height % 2 or width % 2):
            raise self._refuse(
                "H.264 keeps colour for blocks of 2 x 2 pixels",
                "data",
                f"{width} x {height}",
                "even width and height",
            )
        return picture

    def _count(self, field: str, value: Any) -> int:
        try:
            number = operator.index(value)
        except TypeError as error:
            raise self._refuse("a count must be whole", field, repr(value), "int") from error
        if not 0 < number < 2**31:
            raise self._refuse("a count is out of range", field, number, "1 to 2147483647")
        return number

    def _bytes(self, data: Any) -> memoryview:
        try:
            view = memoryview(data)
            return view if view.format == "B" and view.ndim == 1 else view.cast("B")
        except TypeError as error:
            raise self._refuse(
                "pixels must be contiguous bytes", "data", type(data).__name__, "bytes"
            ) from error

    def _refuse(self, message: str, field: str, found: object, expected: object) -> ValueRefused:
        return ValueRefused(
            message, sequence=self.sequence, topic=self.topic, field=field, found=found, expected=expected
        )


def _is_lasting(array: npt.NDArray[Any]) -> bool:
    """Tell whether the pixels are read-only down to the memory itself, so that no copy is needed."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        if owner.flags.writeable:
            return False
        owner = owner.base
    return owner is None or isinstance(owner, bytes)
