"""The setpoints of a rig as limits of every command: none moves one out of its range, whoever gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gapless.acquire.kit import Device
from gapless.acquire.procedure.setpoint import Setpoint

if TYPE_CHECKING:
    from gapless.acquire.adapter import Adapter
    from gapless.acquire.command import Command
    from gapless.acquire.procedure.context import SetpointLimits


class Setpoints:
    """What a rig's ``[setpoints]`` say of commands to its ``adapters``, which need not be open.

    A command sets a setpoint when device and command are the setpoint's and no argument differs that the
    setpoint names. One left out counts as its default, and two names of one thing as one name.
    """

    def __init__(self, specs: Mapping[str, SetpointLimits], adapters: Mapping[str, Adapter]) -> None:
        self._setpoints = [Setpoint(name, spec) for name, spec in specs.items()]
        self._adapters = adapters

    def refusal_of(self, device: str, command: Command) -> str:
        """Return why the command would leave the limits of a setpoint, in words; "" if it would not."""
        for setpoint in self._set_by(device, command.name):
            given = self._resolved(device, command.name, command.arguments)
            value_argument = setpoint.spec.value_argument
            if value_argument in given and _agree(given, self._named(setpoint)):
                problem = setpoint.problem_of(given[value_argument])
                if problem:
                    return f"{problem}; the rig allows {setpoint.range}"
        return ""

    def _set_by(self, device: str, command: str) -> list[Setpoint]:
        """Return the setpoints with limits that a command sets, with the right arguments."""
        own = (device, command)
        return [s for s in self._setpoints if (s.spec.device, s.spec.command) == own and s.is_limited]

    def contradictions(self) -> list[tuple[str, str]]:
        """Return pairs of names: the second sets what the first sets, within other limits."""
        return [
            (first.name, second.name)
            for n, second in enumerate(self._setpoints)
            for first in self._setpoints[:n]
            if self._are_one(first, second)
            and (first.spec.low, first.spec.high) != (second.spec.low, second.spec.high)
        ]

    def _are_one(self, first: Setpoint, second: Setpoint) -> bool:
        """Tell whether some command would set both."""
        one, other = first.spec, second.spec
        same_command = (one.device, one.command) == (other.device, other.command)
        same_value = one.value_argument == other.value_argument
        return same_command and same_value and _agree(self._named(first), self._named(second))

    def _named(self, setpoint: Setpoint) -> dict[str, Any]:
        """Return the arguments that the setpoint names, as the device takes them."""
        spec = setpoint.spec
        resolved = self._resolved(spec.device, spec.command, spec.arguments)
        return {name: resolved[name] for name in spec.arguments}

    def _resolved(self, device: str, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments as the device takes them; one made without the kit takes them as they are."""
        adapter = self._adapters.get(device)
        return adapter.resolved(command, arguments) if isinstance(adapter, Device) else arguments


def _agree(given: Mapping[str, Any], named: Mapping[str, Any]) -> bool:
    return all(_may_be_same(given[name], value) for name, value in named.items() if name in given)


def _may_be_same(first: Any, second: Any) -> bool:
    """Tell whether a device may take two arguments for one: ``2`` and ``"2"``, ``OUT1`` and ``out1``."""
    return bool(first == second) or str(first).strip().casefold() == str(second).strip().casefold()


__all__ = ["Setpoints"]
