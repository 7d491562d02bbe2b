"""A rig made of devices that exist already: what a run asks of a rig, without a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gapless.acquire.calibration.resolution import resolve_channels
from gapless.acquire.channel import read_channels

from .scripted import ScriptedDevice


@dataclass(frozen=True)
class Settings:
    """The settings of a run."""

    saturation_deadline_s: float = 10.0
    drain_deadline_s: float = 30.0
    seal_deadline_s: float = 60.0
    flush_ms: int = 250
    max_unsynced_bytes: int = 64 << 20
    clock: str = "host"
    guard: bool = True
    bridge_seconds: float = 2.0
    length_s: float | None = None


@dataclass(frozen=True)
class Entry:
    """One device of the rig."""

    name: str
    config: Any
    adapter_class: type[Any]


@dataclass(frozen=True)
class Plan:
    """The recording plan: one channel may be left out."""

    left_out: str | None

    def keeps(self, name: str) -> bool:
        """Tell whether a channel or camera is recorded."""
        return name != self.left_out


def channel(device: str) -> dict[str, Any]:
    """Return the channel of a scripted device."""
    return {"name": f"{device}_value", "device": device, "field": "value", "unit": "V"}


class SmallRig:
    """Each device with one channel, ``<device>_value``."""

    name = "small"
    group = None
    setpoints: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def __init__(
        self,
        devices: Iterable[ScriptedDevice],
        *,
        leave_out: str | None = None,
        extra_channels: Sequence[dict[str, Any]] = (),
        analyzers: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self._devices = {device.name: device for device in devices}
        self.devices = {name: Entry(name, d.config, type(d)) for name, d in self._devices.items()}
        tables = [*(channel(name) for name in self._devices), *extra_channels]
        fields = {name: device.channel_fields() for name, device in self._devices.items()}
        self.channels = resolve_channels(read_channels(tables), fields)
        self.recording = Plan(leave_out)
        self.analyzers = tuple(analyzers)
        self.metadata: dict[str, Any] = {}
        self.run = Settings(**settings)

    def make_adapters(self) -> dict[str, ScriptedDevice]:
        """Return the devices."""
        return dict(self._devices)

    def snapshot(self) -> dict[str, Any]:
        """Return what is sealed as the rig."""
        return {"devices": sorted(self._devices)}
