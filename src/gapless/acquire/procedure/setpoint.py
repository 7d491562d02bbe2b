"""Setting a named setpoint of the rig: units converted, limits kept, the command made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

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
        problem = self._outside(value)
        if problem:
            raise RigRefused(problem, found=given, expected=self._range())
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
        problem = self._outside(value)
        if problem:
            raise ProcedureFailed(problem, found=value, expected=self._range())
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

    def _outside(self, value: float) -> str:
        low, high = self.spec.low, self.spec.high
        if not math.isfinite(value):
            return f"{self.name} is set to a finite number"
        if (low is not None and value < low) or (high is not None and value > high):
            return f"{self.name} may not be set to {value:g} {self.spec.unit}"
        return ""

    def _range(self) -> str:
        low, high = self.spec.low, self.spec.high
        return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'} {self.spec.unit}"
