"""What a Modbus register means: values of registers and bits, and the fewest requests that read them all."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, FiniteFloat, model_validator

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import Strict
from gapless.errors import UsageError

_FORMATS = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "float32": "f",
    "float64": "d",
}
_MOST_REGISTERS = 125
_MOST_BITS = 2000


class PointKind(StrEnum):
    """The four tables of a Modbus device."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def is_bit(self) -> bool:
        """Whether an entry is one bit, not 16."""
        return self in (PointKind.COIL, PointKind.DISCRETE)


class Point(Strict):
    """One value of a Modbus device.

    ``register`` (or ``address``) is the one in the request, from 0: the "40001" of a manual is holding register 0.
    ``word_order``: which 16-bit word of a wider number comes first, ``big`` the high one. The value is
    ``raw * scale + offset`` in ``unit``; ``low`` and ``high`` bound what may be written; ``verify`` reads
    back what was written.
    """

    name: str = Field(min_length=1)
    address: int = Field(validation_alias=AliasChoices("register", "address"), ge=0, le=65_535)
    kind: PointKind = PointKind.HOLDING
    dtype: Literal["int16", "uint16", "int32", "uint32", "float32", "float64", "bool"] = "uint16"
    word_order: Literal["big", "little"] = "big"
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0
    unit: str | None = None
    description: str = ""
    writable: bool = False
    verify: bool = False
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind.is_bit != (self.dtype == "bool"):
            raise ValueError(f"a {self.kind} point {'is' if self.kind.is_bit else 'is not'} bool")
        if self.dtype == "bool" and (self.is_scaled or self.low is not None or self.high is not None):
            raise ValueError("a bool has no scale, offset, low or high")
        if self.scale == 0:
            raise ValueError("scale is not 0")
        if self.writable and self.kind in (PointKind.INPUT, PointKind.DISCRETE):
            raise ValueError(f"a {self.kind} point cannot be written")
        if not self.writable and (self.verify or self.low is not None or self.high is not None):
            raise ValueError("verify, low and high are for writable points")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is not above high")
        if self.address + self.width > 65_536:
            raise ValueError("the point ends beyond register 65535")
        return self

    @property
    def is_scaled(self) -> bool:
        """Whether the value differs from the raw number."""
        return self.scale != 1.0 or self.offset != 0.0

    @property
    def width(self) -> int:
        """How many registers or bits the point takes."""
        return 1 if self.dtype == "bool" else struct.calcsize(_FORMATS[self.dtype]) // 2

    def column(self) -> DeviceField:
        """Return the column of the device's records."""
        dtype = "float64" if self.is_scaled else self.dtype
        return DeviceField(self.name, dtype, self.unit, self.description)

    def decode(self, words: Sequence[int]) -> int | float | bool:
        """Return the value of the point's registers (16-bit words) or of its bit."""
        if self.dtype == "bool":
            return bool(words[0])
        ordered = words if self.word_order == "big" else words[::-1]
        (raw,) = struct.unpack(f">{_FORMATS[self.dtype]}", struct.pack(f">{len(words)}H", *ordered))
        return raw * self.scale + self.offset if self.is_scaled else raw  # type: ignore[no-any-return]

    def encode(self, value: Any) -> list[int]:
        """Return the registers or the bit that stand for a value; raise UsageError for one that none does."""
        if not self.writable:
            raise UsageError(f"point {self.name!r} is not writable")
        if self.dtype == "bool":
            if not isinstance(value, bool):
                raise UsageError(f"point {self.name!r} is true or false", found=value)
            return [int(value)]
        raw = self._raw(self._checked(value))
        try:
            packed = struct.pack(f">{_FORMATS[self.dtype]}", raw)
        except (struct.error, OverflowError) as error:
            raise UsageError(
                f"point {self.name!r} cannot hold the value", found=value, expected=f"a {self.dtype}"
            ) from error
        words = list(struct.unpack(f">{self.width}H", packed))
        return words if self.word_order == "big" else words[::-1]

    def _checked(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"point {self.name!r} takes a finite number", found=value)
        below = self.low is not None and value < self.low
        if below or (self.high is not None and value > self.high):
            raise UsageError(
                f"the value is outside what point {self.name!r} may be set to",
                found=value,
                expected=f"between {self.low} and {self.high}",
            )
        return value

    def _raw(self, value: float) -> float:
        raw = (value - self.offset) / self.scale if self.is_scaled else value
        if self.dtype.startswith("float"):
            return raw
        whole = round(raw)
        if not self.is_scaled and whole != raw:
            raise UsageError(f"point {self.name!r} takes whole numbers", found=value)
        return whole


@dataclass(frozen=True)
class Request:
    """One read of neighbouring registers or bits, and where each point lies in the answer."""

    kind: PointKind
    address: int
    count: int
    places: tuple[tuple[int, Point], ...]  # offset into the answer

    def decode(self, words: Sequence[int]) -> Iterable[tuple[str, int | float | bool]]:
        """Yield name and value of each point."""
        for offset, point in self.places:
            yield point.name, point.decode(words[offset : offset + point.width])


def plan_requests(points: Iterable[Point], max_gap: int = 0) -> tuple[Request, ...]:
    """Return the fewest reads that cover the points.

    ``max_gap``: how many registers that no point uses a read may run over.
    """
    requests: list[Request] = []
    run: list[Point] = []
    end = 0
    for point in sorted(points, key=lambda p: (p.kind, p.address, p.width)):
        last = point.address + point.width
        if run and _extends(run[0], end, point, last, max_gap):
            run.append(point)
            end = max(end, last)
            continue
        requests += [_request(run, end)] if run else []
        run, end = [point], last
    return tuple([*requests, _request(run, end)] if run else requests)


def _extends(first: Point, end: int, point: Point, last: int, max_gap: int) -> bool:
    most = _MOST_BITS if first.kind.is_bit else _MOST_REGISTERS
    near = point.address <= end + max_gap
    return point.kind is first.kind and near and last - first.address <= most


def _request(run: Sequence[Point], end: int) -> Request:
    start = run[0].address
    places = tuple((point.address - start, point) for point in run)
    return Request(run[0].kind, start, end - start, places)


__all__ = ["Point", "PointKind", "Request", "plan_requests"]
