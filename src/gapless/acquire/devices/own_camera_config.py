"""What a rig file says of a camera's own program, and the columns that every picture has."""

from __future__ import annotations

from pydantic import Field, field_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig

#: What stands for the path of the file in a command.
PLACE = "{file}"

FIELDS = (
    DeviceField("file", "string", None, "the artifact that holds the picture"),
    DeviceField("frame", "int64", None, "the picture's number in that file, from 0"),
    DeviceField("device_time_ns", "int64", "ns", "the picture's time by the camera's own clock"),
)


class OwnCameraConfig(DeviceConfig):
    """A camera program.

    ``command``: the program and its arguments, in which ``{file}`` stands for the path that it writes.
    ``file_name``: how the file is called in the bundle, behind the camera's name; a program that is started
    again within a run gets ``-2``, ``-3``… before the ending. ``stop_timeout_s``: how long the program may
    take to close its file after its input has ended, before it is terminated.
    """

    command: tuple[str, ...] = Field(min_length=1)
    file_name: str = Field(default="video.mkv", min_length=1, max_length=100)
    media_type: str = "video/x-matroska"
    rate_hz: float = Field(default=30.0, gt=0, le=10_000)
    stop_timeout_s: float = Field(default=2.0, gt=0, le=3)

    @field_validator("command")
    @classmethod
    def _names_the_file(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not any(PLACE in argument for argument in command):
            raise ValueError(f"no argument of the command has {PLACE}, the path that the program writes")
        return command


__all__ = ["FIELDS", "PLACE", "OwnCameraConfig"]
