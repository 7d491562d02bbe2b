"""A radiometric camera: 16-bit pixels that mean temperatures, kept without loss, with what they mean beside them.

Each record has the lowest, highest and mean temperature of its picture, for channels and alarms. How a pixel
becomes a temperature is sealed as the artifact ``<camera>/conversion.json``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, field_validator

from gapless.acquire.adapter import DeviceField, FrameSink, RunFiles
from gapless.acquire.devices.camera import FRAME_FIELDS, CameraConfig, CameraDevice
from gapless.acquire.devices.video_source import SourcePicture, pixels_of
from gapless.errors import DeviceFault

CONVERSION = "conversion.json"


class RadiometricConfig(CameraConfig):
    """A radiometric camera: the temperature of a pixel is ``scale * pixel + offset`` in ``unit``.

    ``media``: ffv1, or png; both keep every bit.
    """

    media: Literal["ffv1", "png"] = "ffv1"  # type: ignore[assignment]  # what keeps 16 bits
    scale: FiniteFloat
    offset: FiniteFloat = 0.0
    unit: str = Field(min_length=1)

    @field_validator("scale")
    @classmethod
    def _tells_pixels_apart(cls, scale: float) -> float:
        if not scale:
            raise ValueError("scale is not 0")
        return scale


class RadiometricDevice(CameraDevice):
    """A camera whose source gives grey pictures of 16 bits; any other picture ends the run."""

    family = "radiometric"
    Config: ClassVar[type[RadiometricConfig]] = RadiometricConfig

    def fields(self) -> Sequence[DeviceField]:
        """Return what the source says of each picture, and its temperatures."""
        unit = self.config.unit
        return (
            *FRAME_FIELDS,
            DeviceField("lowest", "float64", unit, "lowest temperature in the picture"),
            DeviceField("highest", "float64", unit, "highest temperature in the picture"),
            DeviceField("mean", "float64", unit, "mean temperature of the picture"),
        )

    def open_sink(self, files: RunFiles) -> FrameSink:
        """Say what the pixels mean, then open the container."""
        config = self.config
        words = {"scale": config.scale, "offset": config.offset, "unit": config.unit}
        path: Path = files.own_file(self.name, CONVERSION, "application/json")
        path.write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")
        return super().open_sink(files)

    def pixels(self, frame: Any) -> npt.NDArray[Any]:
        """Return the pixels as uint16; DeviceFault for a frame of another depth, whose values mean something else."""
        if not frame.format.name.startswith("gray16"):
            raise DeviceFault(
                f"{self.name} gives no radiometric pictures", found=frame.format.name, expected="gray16"
            )
        return pixels_of(frame)

    def values(self, picture: SourcePicture, pixels: npt.NDArray[Any]) -> tuple[Any, ...]:
        """Return a record's values."""
        scale, offset = self.config.scale, self.config.offset
        ends = sorted((scale * int(pixels.min()) + offset, scale * int(pixels.max()) + offset))
        mean = scale * float(np.mean(pixels, dtype=np.float64)) + offset
        return *super().values(picture, pixels), *ends, mean


__all__ = ["CONVERSION", "RadiometricConfig", "RadiometricDevice"]
