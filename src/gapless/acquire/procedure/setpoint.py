"""Setting a named setpoint of the rig: units converted, limits kept, the command made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.procedure.context import ProcedureContext, SetpointLimits
from gapless.acquire.units import conversion, in_unit, parse_quantity
from gapless.errors import ProcedureFailed, RigRefused

_TIMES_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
_RATE = re.compile(r"(.*?)\s*/\s*(\w+)\s*")


@dataclass(frozen=True)
class Setpoint:
    """A setpoint by its name in the rig."""

    name: str
    spec: SetpointLimits

    def value_of(self, given: str | float) -> float:
        """Return a quantity in the setpoint's unit, or raise RigRefused when it is outside the limits."""
        spec = self.spec
        value = float(given) if not isinstance(given, str) else in_unit(given, spec.unit, self.name)
        problem = self.problem_of(value)
        if problem:
            raise RigRefused(problem, found=given, expected=self.range)
        return value

    def per_second(self, rate: str) -> float:
        """Return a rate such as ``10 degC/min`` in the setpoint's unit per second; its sign does not count."""
        found = _RATE.fullmatch(rate)
        if found is None or found[2] not in _TIMES_S:
            raise RigRefused(
                f"{self.name}: this is no rate",
                found=rate,
                expected=f"such as 10 {self.spec.unit}/min (s, min, h)",
            )
        number, unit = parse_quantity(found[1])
        factor, _ = conversion(
            unit or self.spec.unit, self.spec.unit, self.name
        )  # a difference has no offset
        per_s = abs(number * factor) / _TIMES_S[found[2]]
        if not per_s > 0:
            raise RigRefused(f"{self.name}: a ramp moves", found=rate, expected="a rate other than 0")
        return per_s

    async def apply(self, context: ProcedureContext, value: float, issued_by: str) -> None:
        """Give the command; ProcedureFailed when the device did not do it or the value is out of limits."""
        problem = self.problem_of(value)
        if problem:
            raise ProcedureFailed(problem, found=value, expected=self.range)
        spec = self.spec
        arguments = {**spec.arguments, spec.value_argument: value}
        command = Command(name=spec.command, arguments=arguments, issued_by=issued_by)
        result = await context.dispatch(spec.device, command)
        if result.status is not CommandStatus.DONE:
            raise ProcedureFailed(
                f"{spec.device} did not set {self.name} to {value:g} {spec.unit}: {result.message}",
                found=str(result.status),
                expected=str(CommandStatus.DONE),
            )

    @property
    def is_limited(self) -> bool:
        """Whether the rig bounds the setpoint on either side."""
        return self.spec.low is not None or self.spec.high is not None

    @property
    def range(self) -> str:
        """The values that the setpoint may have, in words."""
        low, high = self.spec.low, self.spec.high
        return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'} {self.spec.unit}"

    def problem_of(self, value: Any) -> str:
        """Return why the setpoint may not have a value of any type, in words; "" if it may."""
        number = _number(value)
        if not math.isfinite(number):
            return f"{self.name} is set to a finite number"
        low, high = self.spec.low, self.spec.high
        if (low is not None and number < low) or (high is not None and number > high):
            return f"{self.name} may not be set to {number:g} {self.spec.unit}"
        return ""


def _number(value: Any) -> float:
    """Return a number as a float, NaN for what is none: a text that a device may read as one is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
