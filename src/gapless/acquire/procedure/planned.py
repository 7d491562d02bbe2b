"""Steps that are ready to be performed: conditions parsed, values in the units of the devices."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gapless.acquire.procedure.condition import Condition
from gapless.acquire.procedure.context import ProcedureContext
from gapless.acquire.procedure.setpoint import Setpoint
from gapless.acquire.procedure.steps import OnTimeout
from gapless.acquire.procedure.waiting import wait_rows, wait_until
from gapless.errors import ProcedureFailed

_NS = 1_000_000_000

CustomStep = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class StepEnd:
    """How a step ended: what its event tells, and why the method ends here, if it does."""

    data: dict[str, Any] = field(default_factory=dict)
    abort_reason: str | None = None


@dataclass(frozen=True)
class PlannedStep(ABC):
    """One step. ``length_s`` is None where nobody can know it before; ``limit_s`` is when it is given up."""

    kind: str
    text: str
    length_s: float | None
    limit_s: float | None

    @abstractmethod
    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Do it; what goes wrong is raised and ends the run."""


@dataclass(frozen=True)
class Pause(PlannedStep):
    """Let time pass: a hold or an acquisition of known length."""

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Sleep."""
        assert self.length_s is not None
        await context.sleep(self.length_s)
        return StepEnd()


@dataclass(frozen=True)
class Setting(PlannedStep):
    """Set a setpoint once."""

    setpoint: Setpoint
    value: float

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Give the command."""
        await self.setpoint.apply(context, self.value, issued_by="method")
        return StepEnd({"setpoint": self.setpoint.name, "value": self.value, "unit": self.setpoint.spec.unit})


@dataclass(frozen=True)
class Ramp(PlannedStep):
    """Move a setpoint in a straight line and end exactly on its target.

    A device that answers slower than the period gets fewer values on the same line: none is caught up.
    """

    setpoint: Setpoint
    begin: float
    end: float
    update_hz: float

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Give the commands."""
        assert self.length_s is not None
        length_ns, period_ns = round(self.length_s * _NS), round(_NS / self.update_hz)
        begin_ns = context.clock.now_ns()
        commands = 0
        while (elapsed_ns := context.clock.now_ns() - begin_ns) < length_ns:
            value = self.begin + (self.end - self.begin) * (elapsed_ns / length_ns)
            await self.setpoint.apply(context, value, issued_by="method")
            commands += 1
            elapsed_ns = context.clock.now_ns() - begin_ns
            due_ns = min(length_ns, (elapsed_ns // period_ns + 1) * period_ns)
            await context.sleep(max(0, due_ns - elapsed_ns) / _NS)
        await self.setpoint.apply(context, self.end, issued_by="method")
        return StepEnd({"setpoint": self.setpoint.name, "value": self.end, "commands": commands + 1})


@dataclass(frozen=True)
class Expiring(PlannedStep):
    """A step that has a time-out, and what happens then."""

    on_timeout: OnTimeout

    async def expired(self, context: ProcedureContext, words: str) -> StepEnd:
        """Act on the time-out: go on, end the method, or make safe and raise ProcedureFailed."""
        severity = "warning" if self.on_timeout is OnTimeout.WARN else "error"
        data = {"kind": self.kind, "on_timeout": str(self.on_timeout), "timeout_s": self.limit_s}
        await context.event(severity, "step_timeout", words, data)
        if self.on_timeout is OnTimeout.SAFE_SHUTDOWN:
            await context.request_safe_shutdown(words)
            raise ProcedureFailed(words)
        return StepEnd(data, abort_reason=words if self.on_timeout is OnTimeout.ABORT else None)


@dataclass(frozen=True)
class WaitForCondition(Expiring):
    """Wait until a condition has held for a while."""

    condition: Condition
    for_s: float

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Wait for samples that come after the step began."""
        assert self.limit_s is not None
        if await wait_until(context, self.condition, for_s=self.for_s, timeout_s=self.limit_s):
            return StepEnd()
        return await self.expired(context, f"not within {self.limit_s:g} s: {self.condition.text}")


@dataclass(frozen=True)
class WaitForRows(Expiring):
    """Wait until a channel has given a number of values."""

    channel: str
    rows: int

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Count values that come after the step began."""
        assert self.limit_s is not None
        if await wait_rows(context, self.channel, self.rows, self.limit_s):
            return StepEnd()
        return await self.expired(context, f"not within {self.limit_s:g} s: {self.rows} of {self.channel}")


@dataclass(frozen=True)
class Ask(Expiring):
    """Ask the operator."""

    question: str
    choices: tuple[str, ...]
    abort_on: tuple[str, ...]

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Wait for one of the choices; some of them end the method."""
        try:
            answer = await context.prompt(self.question, self.choices, self.limit_s)
        except TimeoutError:
            return await self.expired(context, f"no answer within {self.limit_s:g} s: {self.question}")
        reason = f"{self.question}: {answer}" if answer in self.abort_on else None
        return StepEnd({"answer": answer}, abort_reason=reason)


@dataclass(frozen=True)
class MakeSafe(PlannedStep):
    """Put every device into its safe state."""

    reason: str

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Run the programs and tell which devices are not safe; all of them were tried."""
        report = await context.request_safe_shutdown(self.reason)
        return StepEnd({"unsafe_devices": list(report.unsafe_devices)})


@dataclass(frozen=True)
class CallFunction(PlannedStep):
    """Call a user's coroutine function."""

    function: CustomStep
    arguments: Mapping[str, Any]

    async def perform(self, context: ProcedureContext) -> StepEnd:
        """Await it; what it raises ends the run, a time-out as ProcedureFailed."""
        try:
            async with asyncio.timeout(self.limit_s) as limit:
                await self.function(context, **self.arguments)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ProcedureFailed(f"{self.text} did not end within {self.limit_s:g} s") from error
        return StepEnd()
