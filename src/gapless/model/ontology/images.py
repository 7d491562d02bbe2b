"""Images and the cameras that make them."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.geometry import ROI, Vector2d
from gapless.model.ontology.leaf import Int32, LargeBytes, UInt32, Values


class Image(Ontology):
    """Pixels, row by row."""

    data: LargeBytes = field(description="the bytes of the image in its format")
    format: str = field(description="container: raw or png")
    width: Int32 = field(unit="px")
    height: Int32 = field(unit="px")
    stride: Int32 = field(unit="byte", description="bytes from one row to the next")
    encoding: str = field(description="pixels: rgb8, bgr8, mono8, mono16 …")
    is_bigendian: bool | None = None


class CompressedImage(Ontology):
    """An image or video packet as an encoder made it."""

    data: LargeBytes
    format: str = field(description="jpeg, png, tiff, h264, hevc …")


class CameraInfo(Ontology):
    """The calibration of a camera."""

    height: UInt32 = field(unit="px")
    width: UInt32 = field(unit="px")
    distortion_model: str = field(description="plumb_bob, rational_polynomial …")
    distortion_parameters: Values[float] = field(description="as many as the model has")
    intrinsic_parameters: Values[float] = field(shape=(9,), description="K, 3 by 3, row by row")
    rectification_parameters: Values[float] = field(shape=(9,), description="R, 3 by 3, row by row")
    projection_parameters: Values[float] = field(shape=(12,), description="P, 3 by 4, row by row")
    binning: Vector2d | None = None
    roi: ROI | None = None
