"""This machine as a device: processor, memory, disk, network and processes, in one record."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig, PolledConfig
from gapless.acquire.devices.host_figures import HostSource
from gapless.acquire.emission import ABSENT
from gapless.acquire.kit import PolledDevice


class HostConfig(PolledConfig):
    """``folder``: whose disk ``disk_free`` tells of; the temporary folder's if left out."""

    folder: Path | None = None


class HostDevice(PolledDevice):
    """Reads the figures of this machine. One that the system does not offer is null, never zero.

    A field is named after its figure: ``cpu_percent``, ``memory_used``, ``disk_read_bytes``,
    ``network_sent_bytes``, ``processes_count``. The figures of processes are read once a second at most;
    the records between do not have them.
    """

    family = "host"
    Config: ClassVar[type[DeviceConfig]] = HostConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._source = HostSource(config.folder or Path(tempfile.gettempdir()))
        self._topics = self._source.fields()

    @property
    def resource_id(self) -> str:
        """This machine; several devices may look at it."""
        return f"host:{self.name}"

    def fields(self) -> Sequence[DeviceField]:
        """Return every figure with its unit."""
        return [
            DeviceField(f"{topic.removeprefix('host/')}_{name}", dtype, unit, about)
            for topic, fields in self._topics.items()
            for name, dtype, unit, about in fields
        ]

    async def connect(self) -> None:
        """Take the first sample, which the rates of the next ones are counted from."""
        self._source.sample()

    async def disconnect(self) -> None:
        """Nothing is open."""

    async def read(self) -> Sequence[Any]:
        """Return the figures of now."""
        found = self._source.sample()
        return [
            value
            for topic, fields in self._topics.items()
            for value in found.get(topic, (ABSENT,) * len(fields))
        ]

    async def facts(self) -> dict[str, Any]:
        """Return what identifies this machine."""
        import platform

        return {"name": platform.node(), "system": platform.system(), "release": platform.release()}
