"""The recorder of a camera: colour as video, depth and segmentation as images in which no bit is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.errors import UsageError, ValueRefused
from gapless.observe.recorder import Camera, CameraSpec, Table
from gapless.observe.sources import CameraSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gapless.observe.step import StepContext

VERSION = 1
NO_MEASUREMENT = 0
SATURATED = 65535


class CameraRecorder:
    """Makes the topic ``name`` of one camera."""

    def __init__(self, name: str, source: CameraSource) -> None:
        _check_size(name, source)
        self.name = name
        self.tables: Sequence[Table] = []
        self.cameras: Sequence[Camera] = [_camera(name, source)]

    def begin(self) -> None:
        """Count saturated pixels anew."""
        for camera in self.cameras:
            if isinstance(camera, DepthCamera):
                camera.saturated_pixels = 0

    def artifacts(self) -> Mapping[str, bytes]:
        """Return no files."""
        return {}


class ColourCamera:
    """Pictures of uint8 [height, width, 3]: H.264, or PNG where the size is odd, which H.264 cannot have."""

    def __init__(self, name: str, source: CameraSource) -> None:
        even = source.height % 2 == 0 and source.width % 2 == 0
        self.spec = CameraSpec(
            name, source.height, source.width, "rgb8", "mp4" if even else "png", VERSION, {"kind": "rgb"}
        )
        self.picture: NDArray[np.uint8] = np.zeros((source.height, source.width, 3), np.uint8)
        self._source = source

    def read(self, context: StepContext) -> None:
        """Render and copy; ValueRefused for another size or type."""
        del context  # every step is read alike
        array = np.asarray(self._source.render())
        if array.dtype != np.uint8 or array.shape != self.picture.shape:
            raise _refused(self.spec, array, "uint8", self.picture.shape)
        np.copyto(self.picture, array)


class DepthCamera:
    """Distances as uint16 in units of ``depth_unit_m``: 0 is no measurement, 65535 is that far or farther.

    A measured distance never becomes 0. ``saturated_pixels`` counts those of 65535 since the episode began.
    """

    def __init__(self, name: str, source: CameraSource) -> None:
        unit_m = source.depth_unit_m
        if not (isinstance(unit_m, int | float) and math.isfinite(unit_m) and unit_m > 0):
            raise UsageError(
                "a unit of depth is a length", topic=name, field="depth_unit_m", found=repr(unit_m)
            )
        words = {
            "kind": "depth",
            "depth_unit_m": float(unit_m),
            "no_measurement": NO_MEASUREMENT,
            "saturated": SATURATED,
        }
        self.spec = CameraSpec(name, source.height, source.width, "mono16", "png", VERSION, words)
        size = source.height, source.width
        self.picture: NDArray[np.uint16] = np.zeros(size, np.uint16)
        self.saturated_pixels = 0
        self._source = source
        self._scaled: NDArray[np.float64] = np.zeros(size)
        self._marked = np.zeros(size, bool)

    def read(self, context: StepContext) -> None:
        """Render and convert; ValueRefused for another size or type."""
        del context  # every step is read alike
        array = np.asarray(self._source.render())
        if array.shape != self.picture.shape or (array.dtype.kind != "f" and array.dtype != np.uint16):
            raise _refused(self.spec, array, "floating point in metres or uint16", self.picture.shape)
        if array.dtype == np.uint16:
            np.copyto(self.picture, array)
        else:
            self._scale(array)
        np.equal(self.picture, SATURATED, out=self._marked)
        self.saturated_pixels += int(np.count_nonzero(self._marked))

    def _scale(self, metres: NDArray[Any]) -> None:
        """Round to whole units; the smallest distance is 1, so that only what was not measured is 0."""
        scaled, unmeasured = self._scaled, self._marked
        with np.errstate(over="ignore"):
            np.divide(metres, self._source.depth_unit_m, out=scaled, dtype=np.float64, casting="same_kind")
        np.rint(scaled, out=scaled)
        np.clip(scaled, 1, SATURATED, out=scaled)
        np.isfinite(metres, out=unmeasured)
        np.logical_and(unmeasured, metres > 0, out=unmeasured)
        np.logical_not(unmeasured, out=unmeasured)
        np.copyto(scaled, NO_MEASUREMENT, where=unmeasured)
        np.copyto(self.picture, scaled, casting="unsafe")


class SegmentationCamera:
    """The number of what each pixel shows, from 0 to 65535."""

    def __init__(self, name: str, source: CameraSource) -> None:
        words = {"kind": "segmentation"}
        self.spec = CameraSpec(name, source.height, source.width, "mono16", "png", VERSION, words)
        self.picture: NDArray[np.uint16] = np.zeros((source.height, source.width), np.uint16)
        self._source = source

    def read(self, context: StepContext) -> None:
        """Render and copy; ValueRefused for another size or type, and for numbers that 16 bits do not hold."""
        del context  # every step is read alike
        array = np.asarray(self._source.render())
        if array.dtype.kind not in "iub" or array.shape != self.picture.shape:
            raise _refused(self.spec, array, "whole numbers", self.picture.shape)
        least, most = int(array.min()), int(array.max())
        if least < 0 or most > SATURATED:
            raise ValueRefused(
                "an image of 16 bits cannot hold the number of a segment",
                topic=self.spec.topic,
                field="segmentation",
                found=least if least < 0 else most,
                expected="0 to 65535",
                next_step="give the background and each object a number from 0 to 65535",
            )
        np.copyto(self.picture, array, casting="unsafe")


_KINDS: dict[str, Callable[[str, CameraSource], Camera]] = {
    "rgb": ColourCamera,
    "depth": DepthCamera,
    "segmentation": SegmentationCamera,
}


def _camera(name: str, source: CameraSource) -> Camera:
    kind = _KINDS.get(source.kind)
    if kind is None:
        raise UsageError(
            "there is no such kind of picture",
            topic=name, field="kind", found=repr(source.kind), expected=", ".join(_KINDS),
        )  # fmt: skip
    return kind(name, source)


def _check_size(name: str, source: CameraSource) -> None:
    for field in ("height", "width"):
        found = getattr(source, field)
        if type(found) is not int or found < 1:
            raise UsageError(
                "a picture has a size in pixels", topic=name, field=field, found=repr(found), expected="480"
            )


def _refused(spec: CameraSpec, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> ValueRefused:
    return ValueRefused(
        "the camera gave another picture than it said it would",
        topic=spec.topic,
        field=str(spec.metadata["kind"]),
        found=f"{array.dtype} {list(array.shape)}",
        expected=f"{dtype} {list(shape)}",
    )
