"""What every device of a rig file may say, whatever it is; each adapter adds its own fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class OnFailure(StrEnum):
    """What a device that breaks, or is silent beyond its deadline, does to the run."""

    CRASH = "crash"  # safe state for all devices, then seal as crashed
    WARN = "warn"  # an event and a gap; the run goes on, and tries to bring a device back that broke


class Strict(BaseModel):
    """A table of a configuration file: frozen, and an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class SafeStep(Strict):
    """One command of a safe-state program."""

    command: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class SafeState(Strict):
    """The program that leaves the device harmless; it runs on every way out of a run.

    ``deadline_s``: how long the whole program may take. ``second_connection``: whether the device takes a
    second connection while the first hangs, so that the supervisor or the guard can run the program.
    """

    program: tuple[SafeStep, ...] = Field(min_length=1)
    deadline_s: float = Field(default=2.0, gt=0, le=60)
    second_connection: bool = False


class DeviceConfig(Strict):
    """The part of a device's table that the runtime reads.

    ``silence_deadline_s``: how long the device may give nothing; None: ten periods, at least 5 s.
    """

    adapter: str
    description: str = ""
    silence_deadline_s: float | None = Field(default=None, gt=0)
    on_failure: OnFailure = OnFailure.CRASH
    open_timeout_s: float = Field(default=5.0, gt=0, le=120)
    read_timeout_s: float = Field(default=1.0, gt=0, le=120)
    safe_state: SafeState | None = None


class PolledConfig(DeviceConfig):
    """A device that is asked ``rate_hz`` times a second."""

    rate_hz: float = Field(default=1.0, gt=0, le=10_000)
