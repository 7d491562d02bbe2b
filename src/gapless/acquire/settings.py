"""The tables of a rig that belong to no device: the run, the setpoints, the recording plan."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from gapless.acquire.device_config import Strict


class RunSettings(Strict):
    """``[run]``: how a run is recorded and when it must end.

    ``saturation_deadline_s``: how long a queue or the disk may take nothing. ``drain_deadline_s``: how long
    the end may take to write what is queued. ``bridge_seconds``: how much of a device's data may wait
    before the conductor. ``clock``: host, or simulated where every device is. ``guard``: whether a child
    process makes the devices safe when this one is killed.
    """

    saturation_deadline_s: float = Field(default=10.0, gt=0, le=3600)
    drain_deadline_s: float = Field(default=30.0, gt=0, le=3600)
    seal_deadline_s: float = Field(default=60.0, gt=0, le=86_400)
    flush_ms: int = Field(default=250, gt=0, le=60_000)
    max_unsynced_bytes: int = Field(default=64 << 20, ge=1 << 16)
    bridge_seconds: float = Field(default=2.0, gt=0, le=600)
    clock: Literal["host", "simulated"] = "host"
    guard: bool = True
    length_s: float | None = Field(default=None, gt=0, le=10 * 365 * 86_400)


class SetpointSpec(Strict):
    """``[setpoints.NAME]``: a quantity that a method or a person sets, by a command of a device.

    The value goes into ``value_argument`` in ``unit``; one outside ``low`` and ``high`` is refused, whoever
    gives the command. Only safe-state programs are not held to it.
    """

    device: str = Field(min_length=1)
    command: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    value_argument: str = Field(default="value", min_length=1)
    unit: str = Field(min_length=1)
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError("low lies below high")
        if self.value_argument in self.arguments:
            raise ValueError(f"the value replaces {self.value_argument!r} of the arguments")
        return self


class RecordingSpec(Strict):
    """``[recording]``: which channels and cameras go to the disk, as glob patterns over their names.

    Everything else of the run sees all of them, and native records are always kept.
    """

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()

    def keeps(self, name: str) -> bool:
        """Tell whether a channel or camera is recorded."""
        wanted = any(fnmatchcase(name, pattern) for pattern in self.include)
        return wanted and not any(fnmatchcase(name, pattern) for pattern in self.exclude)
