"""What a method may ask of the run that performs it, and of the rig that it was written for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gapless.acquire.clock import RunClock
from gapless.acquire.command import Command, CommandResult
from gapless.acquire.emission import ChannelSample, SampleBlock
from gapless.flow.subscription import Subscription

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec
    from gapless.acquire.safe_state import SafeReport


class SetpointLimits(Protocol):
    """A named quantity that a command of a device sets; values outside low and high are refused."""

    @property
    def device(self) -> str:
        """The device that is set."""

    @property
    def command(self) -> str:
        """The command that sets it."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The command's other arguments."""

    @property
    def value_argument(self) -> str:
        """The argument that takes the value."""

    @property
    def unit(self) -> str:
        """The unit that the device takes the value in."""

    @property
    def low(self) -> float | None:
        """The least value, in the unit."""

    @property
    def high(self) -> float | None:
        """The greatest value, in the unit."""


class MethodRig(Protocol):
    """The part of a rig that a method refers to."""

    @property
    def channels(self) -> Sequence[ChannelSpec]:
        """The channels that conditions name."""

    @property
    def setpoints(self) -> Mapping[str, SetpointLimits]:
        """The setpoints that steps name."""


class ProcedureContext(Protocol):
    """The run, as its method sees it. All of it belongs to the conductor's loop."""

    @property
    def clock(self) -> RunClock:
        """The run's clock."""

    async def dispatch(self, device: str, command: Command) -> CommandResult:
        """Give a command to a device with the run's authorisation; a refusal is an answer, not an error."""

    def subscribe(self, channels: Sequence[str]) -> Subscription[Any]:
        """Listen to channels under the policy BLOCK; leave it as soon as nothing more is read."""

    def last_value(self, channel: str) -> ChannelSample | SampleBlock | None:
        """Return the latest sample of a channel, None before the first."""

    async def event(self, severity: str, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Record an event."""

    async def prompt(self, text: str, choices: Sequence[str], timeout_s: float | None) -> str:
        """Ask the operator and return one of the choices; TimeoutError when none came in time."""

    async def request_safe_shutdown(self, reason: str) -> SafeReport:
        """Run every device's safe-state program and tell what became of each."""

    async def sleep(self, seconds: float) -> None:
        """Let this much of the run's time pass."""
