"""What a rig file says of a camera, and the columns that every picture has."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gapless.acquire.adapter import DeviceField
from gapless.acquire.devices.video_source import SourceConfig

FRAME_FIELDS = (
    DeviceField("pts_ns", "int64", "ns", "the picture's time by the source's own clock, where it tells"),
    DeviceField("corrupt", "uint8", None, "1 if the picture's bytes came damaged, else 0"),
)


class CameraConfig(SourceConfig):
    """A camera. ``media``: mp4 (H.264, nearly what came; even width and height) or png (exactly what came).

    ``rate_hz``: pictures a second. ``fixed_rate``: the source's own times are exactly that far apart, so
    that a hole in them is a gap with its count.
    """

    media: Literal["mp4", "png"] = "mp4"
    rate_hz: float = Field(default=30.0, gt=0, le=10_000)
    fixed_rate: bool = False


__all__ = ["FRAME_FIELDS", "CameraConfig"]
