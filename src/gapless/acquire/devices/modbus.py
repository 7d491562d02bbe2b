"""Modbus TCP and RTU: points of a device, read in as few requests as possible, written one at a time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import PolledConfig
from gapless.acquire.devices.modbus_link import ModbusLink
from gapless.acquire.devices.modbus_points import Point, PointKind, plan_requests
from gapless.acquire.devices.shared_link import LinkedDevice, serial_resource
from gapless.acquire.devices.table_file import read_table
from gapless.acquire.kit import Handler
from gapless.errors import DeviceFault, UsageError

_SERIAL_KEYS = ("baudrate", "parity", "stopbits")


class ModbusConfig(PolledConfig):
    """One unit behind a TCP address or on a serial bus.

    ``port``: the TCP port, or the serial port's path. ``table``: a shipped table of points by name, or the
    path of one; ``points`` adds to it, and replaces points of the same name. ``max_gap``: how many unused
    registers one read may run over.
    """

    transport: Literal["tcp", "rtu"] = "tcp"
    host: str | None = None
    port: int | str = 502
    baudrate: int = Field(default=19_200, gt=0)
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    unit_id: int = Field(default=1, ge=0, le=255)
    table: str | None = None
    points: tuple[Point, ...] = Field(min_length=1)
    max_gap: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _take_the_table(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given.get("table"):
            return given
        own = given.get("points", ())
        if not isinstance(own, list | tuple):
            return given
        table = read_table(str(given["table"]), "modbus").get("points", ())
        names = {_name_of(point) for point in own}
        return {**given, "points": [*(point for point in table if _name_of(point) not in names), *own]}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [point.name for point in self.points]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two points are called {', '.join(twice)}")
        if self.transport == "tcp":
            if not self.host:
                raise ValueError("transport tcp needs a host")
            if (
                not str(self.port).isascii()
                or not str(self.port).isdigit()
                or not 0 < int(self.port) < 65_536
            ):
                raise ValueError("the port of transport tcp is a number from 1 to 65535")
            idle = [key for key in _SERIAL_KEYS if getattr(self, key) != type(self).model_fields[key].default]
        else:
            if not isinstance(self.port, str) or self.port.isdigit():
                raise ValueError("the port of transport rtu is a path such as /dev/ttyUSB0")
            idle = ["host"] if self.host is not None else []
        if idle:
            raise ValueError(f"{', '.join(idle)}: transport {self.transport} makes no use of it")
        return self


def _name_of(point: Any) -> Any:
    return point.get("name") if isinstance(point, dict) else getattr(point, "name", None)


class ModbusDevice(LinkedDevice):
    """One Modbus unit; a column for each point.

    Commands: ``write(point, value)`` and ``read(point)``.
    """

    family: ClassVar[str] = "modbus"
    Config: ClassVar[type[ModbusConfig]] = ModbusConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self.points: dict[str, Point] = {point.name: point for point in config.points}
        self.requests = plan_requests(config.points, config.max_gap)
        is_tcp = config.transport == "tcp"
        self._resource_id = f"tcp:{config.host}:{config.port}" if is_tcp else serial_resource(config.port)

    @property
    def resource_id(self) -> str:
        """The TCP address or the serial port."""
        return self._resource_id

    @property
    def settings(self) -> Hashable:
        """What the devices on one bus must agree on."""
        config = self.config
        if config.transport == "tcp":
            return ("modbus", "tcp", config.host, int(config.port))
        return ("modbus", "rtu", config.port, config.baudrate, config.parity, config.stopbits)

    def fields(self) -> Sequence[DeviceField]:
        """Return a column for each point."""
        return [point.column() for point in self.points.values()]

    async def connect_link(self, late_until_s: float) -> ModbusLink:
        """Open the TCP connection or the serial port."""
        return await ModbusLink.open(self.settings, late_until_s)

    async def probe(self) -> None:
        """Read the first block, so that a unit that is not there is known when it is opened."""
        await self._fetch(self.requests[0].kind, self.requests[0].address, self.requests[0].count)

    async def read(self) -> Sequence[Any]:
        """Return the values of all points."""
        values: dict[str, Any] = {}
        for request in self.requests:
            words = await self._fetch(request.kind, request.address, request.count)
            values.update(request.decode(words))
        return [values[name] for name in self.points]

    async def _fetch(self, kind: PointKind, address: int, count: int) -> list[int]:
        link: ModbusLink = await self.live_link()
        limit_s = 0.9 * self.config.read_timeout_s  # before the poll is given up, to say what was heard
        return await link.read(kind, address, count, self.config.unit_id, limit_s)

    async def facts(self) -> dict[str, Any]:
        """Return the unit's address and what its points hold now."""
        values = dict(zip(self.points, await self.read(), strict=True))
        shown = {name: value if math.isfinite(value) else None for name, value in values.items()}
        return {"address": self.resource_id, "unit_id": self.config.unit_id, "points": shown}

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the device obeys."""
        return {"write": self._write, "read": self._read_point}

    def check_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Raise UsageError for a point that is not there, or does not take the value."""
        place = self._point(arguments["point"])
        if command == "write":
            place.encode(arguments["value"])

    def choices(self, command: str) -> Mapping[str, Sequence[str]]:
        """Return the points that can be read, or written."""
        return {"point": [n for n, place in self.points.items() if command == "read" or place.writable]}

    def _point(self, name: str) -> Point:
        if name not in self.points:
            raise UsageError(f"no point is called {name!r}", expected=", ".join(self.points))
        return self.points[name]

    async def _read_point(self, point: str) -> int | float | bool:
        place = self._point(point)
        return place.decode(await self._fetch(place.kind, place.address, place.width))

    async def _write(self, point: str, value: Any) -> None:
        place = self._point(point)
        words = place.encode(value)
        link: ModbusLink = await self.live_link()
        await link.write(place.kind, place.address, words, self.config.unit_id, self.config.read_timeout_s)
        if not place.verify:
            return
        found = await self._fetch(place.kind, place.address, place.width)
        if found != words:
            raise DeviceFault(
                f"point {point!r} does not hold what was written",
                found=place.decode(found),
                expected=place.decode(words),
            )


__all__ = ["ModbusConfig", "ModbusDevice"]
