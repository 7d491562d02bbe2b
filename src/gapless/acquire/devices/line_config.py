"""What a rig file says of a device that speaks in lines."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gapless.acquire.device_config import PolledConfig
from gapless.acquire.devices.line_table import LineTable
from gapless.acquire.devices.table_file import read_table

_SERIAL_KEYS = ("baudrate", "bytesize", "parity", "stopbits")


class LineConfig(PolledConfig):
    """One device on a serial port or at a TCP address.

    ``table``: a shipped table by name, the path of one, or the table itself. ``parameters`` replace those of
    the table. Serial settings that are left out are the table's. For a device that talks by itself
    ``rate_hz`` is how often it does, and ``read_timeout_s`` how long it may be silent.
    """

    transport: Literal["tcp", "serial"] = "serial"
    host: str | None = None
    port: int | str
    baudrate: int | None = Field(default=None, gt=0)
    bytesize: Literal[5, 6, 7, 8] | None = None
    parity: Literal["N", "E", "O", "M", "S"] | None = None
    stopbits: Literal[1, 2] | None = None
    table: LineTable
    parameters: dict[str, str] = Field(default_factory=dict)

    @field_validator("table", mode="before")
    @classmethod
    def _take_the_table(cls, given: Any) -> Any:
        return read_table(given, "line") if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        unknown = sorted(set(self.parameters) - set(self.table.parameters))
        if unknown:
            raise ValueError(f"the table has no parameter {', '.join(unknown)}")
        if self.transport == "tcp":
            if not self.host:
                raise ValueError("transport tcp needs a host")
            if (
                not str(self.port).isascii()
                or not str(self.port).isdigit()
                or not 0 < int(self.port) < 65_536
            ):
                raise ValueError("the port of transport tcp is a number from 1 to 65535")
            idle = [key for key in _SERIAL_KEYS if getattr(self, key) is not None]
        else:
            if not isinstance(self.port, str) or self.port.isdigit():
                raise ValueError("the port of transport serial is a path such as /dev/ttyUSB0")
            idle = ["host"] if self.host is not None else []
        if idle:
            raise ValueError(f"{', '.join(idle)}: transport {self.transport} makes no use of it")
        return self

    @property
    def settings(self) -> Hashable:
        """How the connection is opened: what the devices on one port must agree on."""
        end = self.table.line_end
        if self.transport == "tcp":
            return ("line", "tcp", end, self.host, int(self.port))
        mine = {key: getattr(self, key) for key in _SERIAL_KEYS}
        chosen = [getattr(self.table.serial, key) if mine[key] is None else mine[key] for key in _SERIAL_KEYS]
        return ("line", "serial", end, self.port, *chosen)


__all__ = ["LineConfig"]
