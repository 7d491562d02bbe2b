"""A small run for methods: a real data bus, a clock that moves when the method sleeps, a device that obeys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapless.acquire.channel import ChannelSpec
from gapless.acquire.clock import SimulatedClock
from gapless.acquire.command import Command, CommandResult, done
from gapless.acquire.databus import ConductorDataBus
from gapless.acquire.emission import ChannelSample
from gapless.acquire.procedure.executor import Executor, MethodEnd
from gapless.acquire.procedure.method import Method
from gapless.acquire.safe_state import SafeOutcome, SafeReport, SafeStatus
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.subscription import Subscription

NS = 1_000_000_000


@dataclass(frozen=True)
class HeaterSetpoint:
    """A setpoint of the one device."""

    device: str = "heater"
    command: str = "write"
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"register": "sp"})
    value_argument: str = "value"
    unit: str = "degC"
    low: float | None = 0.0
    high: float | None = 900.0


@dataclass(frozen=True)
class SmallRig:
    """What a method refers to."""

    channels: tuple[ChannelSpec, ...] = (
        ChannelSpec(name="heater_pv", device="heater", field="pv", unit="degC"),
        ChannelSpec(name="flow", device="mfc", field="flow", unit="L/min"),
    )
    setpoints: Mapping[str, HeaterSetpoint] = field(default_factory=lambda: {"heater": HeaterSetpoint()})


class Stage:
    """Everything a method asks for. ``on_command`` answers a command and may publish what follows from it."""

    def __init__(self, answer: str | None = None, slow_s: float = 0.0) -> None:
        self.clock = SimulatedClock()
        self.bus = ConductorDataBus()
        self.events: list[tuple[str, str, str, dict[str, Any]]] = []
        self.commands: list[tuple[float, Command]] = []
        self.made_safe: list[str] = []
        self.asked: list[tuple[str, tuple[str, ...], float | None]] = []
        self.policies: list[BackpressurePolicy] = []
        self.on_command: Callable[[Command], CommandResult] = done
        self._answer = answer
        self._slow_s = slow_s

    async def dispatch(self, device: str, command: Command) -> CommandResult:
        """Let the device answer, which takes its time."""
        assert device == "heater"
        self.commands.append((self.clock.now_ns() / NS, command))
        await self.sleep(self._slow_s)
        return self.on_command(command)

    def subscribe(self, channels: Sequence[str]) -> Subscription[Any]:
        """Listen on the bus."""
        wanted = set(channels)
        found = self.bus.subscribe_where(
            lambda item: item.channel in wanted, policy=BackpressurePolicy.BLOCK, name="method"
        )
        self.policies.append(found.policy)
        return found

    def last_value(self, channel: str) -> Any:
        """Return the latest item."""
        return self.bus.last_value(channel)

    async def event(self, severity: str, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Keep the event."""
        self.events.append((severity, kind, message, data or {}))

    async def prompt(self, text: str, choices: Sequence[str], timeout_s: float | None) -> str:
        """Answer as the test said, or do not."""
        self.asked.append((text, tuple(choices), timeout_s))
        if self._answer is None:
            raise TimeoutError
        return self._answer

    async def request_safe_shutdown(self, reason: str) -> SafeReport:
        """Report one device as safe and one as not."""
        self.made_safe.append(reason)
        safe = SafeOutcome(device="heater", status=SafeStatus.SAFE)
        return SafeReport(reason, (safe, SafeOutcome.unsafe("mfc", "no answer")))

    async def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance_to(self.clock.now_ns() + round(seconds * NS))
        await asyncio.sleep(0)

    async def give(self, channel: str, *values: float) -> None:
        """Publish samples, each a second after the one before."""
        for value in values:
            self.clock.advance_to(self.clock.now_ns() + NS)
            await self.bus.publish(ChannelSample(channel, self.clock.now_ns(), value, "", "t:heater:0"))

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events in their order."""
        return [kind for _, kind, _, _ in self.events]

    @property
    def values(self) -> list[float]:
        """The values that the device was set to."""
        return [command.arguments["value"] for _, command in self.commands]


def method_of(*steps: dict[str, Any], rig: SmallRig | None = None, **tables: Any) -> Method:
    """Return a checked method of these steps."""
    return Method.of({"method": {"name": "m"}, "steps": list(steps), **tables}, rig or SmallRig())


def perform(stage: Stage, *steps: dict[str, Any], feed: Callable[[], Any] | None = None) -> MethodEnd:
    """Perform steps to their end on a loop of their own; ``feed`` runs beside them once they listen."""

    async def main() -> MethodEnd:
        task = asyncio.create_task(Executor(method_of(*steps), SmallRig(), stage).run())
        if feed is not None:
            while not stage.bus.subscriptions and not task.done():
                await asyncio.sleep(0)
            await feed()
        async with asyncio.timeout(60):
            return await task

    return asyncio.run(main())
