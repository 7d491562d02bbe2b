"""What a rig file says of EPICS variables: their names, what they give, and how often."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig, Strict
from gapless.acquire.devices.typed_value import ScalarType


class PvField(Strict):
    """One process variable. ``length``: of a waveform; None: one value.

    ``dtype`` string takes an enumeration's word, and an array of characters as text.
    """

    name: str = Field(min_length=1)
    pv: str = Field(min_length=1, max_length=500)
    dtype: ScalarType = "float64"
    length: int | None = Field(default=None, ge=1)
    unit: str | None = None
    description: str = ""

    def columns(self) -> tuple[DeviceField, DeviceField, DeviceField, DeviceField]:
        """Return the variable's columns: value, server's time, alarm severity and status."""
        name, shape = self.name, () if self.length is None else (self.length,)
        alarm = f"alarm of {name}: 0 none, 1 minor, 2 major, 3 invalid"
        return (
            DeviceField(name, self.dtype, self.unit, self.description or self.pv, shape),
            DeviceField(f"{name}_ioc_ns", "int64", "ns", f"UTC at which the server stamped {name}"),
            DeviceField(f"{name}_severity", "uint8", None, alarm),
            DeviceField(f"{name}_status", "uint8", None, f"alarm status of {name}, as in EPICS' alarm.h"),
        )


class EpicsConfig(DeviceConfig):
    """Process variables, searched where the environment says (EPICS_CA_ADDR_LIST and the rest).

    Best those of one server: while one of them is away, the device is. ``expected_rate_hz``: changes a
    second, all variables together.
    """

    expected_rate_hz: float = Field(default=10.0, gt=0, le=100_000)
    pvs: tuple[PvField, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = [column.name for pv in self.pvs for column in pv.columns()]
        for what, names in (("columns", columns), ("variables", [pv.pv for pv in self.pvs])):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"two {what} are called {', '.join(twice)}")
        return self


__all__ = ["EpicsConfig", "PvField"]
