"""The devices of a rig: their tables checked by their adapters, and what they are able to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gapless.acquire.adapter import Adapter, DeviceField
from gapless.acquire.pool import group_by_resource
from gapless.acquire.problem_list import ProblemList, did_you_mean
from gapless.acquire.pushed import PushedDevice
from gapless.acquire.registry import adapter_class, adapter_names
from gapless.acquire.rig import DeviceEntry
from gapless.errors import GaplessError, NotFound, ResourceConflict, UsageError
from gapless.model.names import check_topic_name, fold

_TOPIC_ROOTS = ("device", "channels", "recalibrated")  # a camera's topic is its name


@dataclass
class RigDevices:
    """Reads ``[devices.NAME]``; ``adapters`` are made of tables that are right, and are not opened."""

    problems: ProblemList
    declared: list[str] = field(default_factory=list)
    entries: dict[str, DeviceEntry] = field(default_factory=dict)
    adapters: dict[str, Adapter] = field(default_factory=dict)
    fields: dict[str, Sequence[DeviceField]] = field(default_factory=dict)
    _rates_hz: dict[str, float] = field(default_factory=dict)

    def read(self, given: Any) -> None:
        """Read every table; each problem is said at its own."""
        if not isinstance(given, Mapping) or not given:
            self.problems.say("R002", "a rig has at least one table [devices.NAME]", "devices")
            return
        self.declared = list(given)
        self._check_names()
        for name, table in given.items():
            self._device(name, table)
        for name in self.adapters:
            self._check_ability(name)
        self._check_resources()

    # -- one device ----------------------------------------------------------------------------

    def _check_names(self) -> None:
        known: dict[str, str] = {}
        for name in self.declared:
            words = _name_problem(name)
            if words is None and fold(name) in known:
                words = f"there is another device {known[fold(name)]!r}"
            if words is not None:
                self.problems.say("R005", words, "devices", name)
            known[fold(name)] = name

    def _device(self, name: str, table: Any) -> None:
        adapter = table.get("adapter") if isinstance(table, Mapping) else None
        if not isinstance(adapter, str):
            self.problems.say("R002", "a device names its adapter", "devices", name, "adapter")
            return
        try:
            kind = adapter_class(adapter)
        except NotFound:
            near = did_you_mean(adapter, adapter_names())
            words = f"there is no adapter {adapter!r}{near or '; there are ' + ', '.join(adapter_names())}"
            self.problems.say("R003", words, "devices", name, "adapter")
            return
        except GaplessError as error:
            self.problems.say_error("R009", error, "devices", name, "adapter")
            return
        config = self.problems.checked(kind.Config, table, "devices", name)
        if config is not None:
            self.entries[name] = DeviceEntry(name, config, kind)
            self._make(self.entries[name])

    def _make(self, entry: DeviceEntry) -> None:
        """Make the adapter and ask what it offers: another's program, which may do anything."""
        try:
            adapter = entry.adapter_class(entry.name, entry.config)
            offered = list(adapter.channel_fields()), float(adapter.expected_rate_hz)
            is_adapter = isinstance(adapter, Adapter)
        except GaplessError as error:
            self.problems.say_error("R002", error, "devices", entry.name)
            return
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            words = f"the adapter {entry.config.adapter!r} breaks: {type(error).__name__}: {error}"
            self.problems.say("R009", words, "devices", entry.name)
            return
        if not is_adapter:
            words = f"the adapter {entry.config.adapter!r} lacks part of what a run asks of a device"
            self.problems.say("R009", words, "devices", entry.name)
            return
        self.adapters[entry.name] = adapter
        self.fields[entry.name], self._rates_hz[entry.name] = offered

    def _check_ability(self, name: str) -> None:
        config, rate_hz = self.entries[name].config, self._rates_hz[name]
        if not rate_hz > 0:
            words = f"a device that gives {rate_hz:g} readings a second gives none"
            self.problems.say("R005", words, "devices", name, "rate_hz")
        is_steady = not isinstance(self.adapters[name], PushedDevice)  # others speak when they have to
        deadline_s = config.silence_deadline_s
        if is_steady and deadline_s is not None and 0 < deadline_s * rate_hz <= 1:
            words = f"the device is silent for {1 / rate_hz:g} s between two readings"
            self.problems.say("R005", words, "devices", name, "silence_deadline_s")
        for n, step in enumerate(config.safe_state.program if config.safe_state is not None else ()):
            path = "devices", name, "safe_state", "program", n
            if self.knows(name, step.command, step.arguments, *path):
                self.takes(name, step.command, step.arguments, *path)

    def takes(self, name: str, command: str, arguments: Mapping[str, Any], *path: str | int) -> bool:
        """Tell whether a device would take a known command with these arguments; say it if not."""
        adapter: Any = self.adapters[name]
        check: Callable[[str, Mapping[str, Any]], None] | None = getattr(adapter, "check_arguments", None)
        if check is not None:
            try:
                check(command, arguments)
            except UsageError as error:
                self.problems.say_error("R003", error, *path, "arguments")
                return False
        return True

    def knows(self, name: str, command: str, arguments: Mapping[str, Any], *path: str | int) -> bool:
        """Tell whether a device knows a command, and the command its arguments' names; say it if not."""
        adapter: Any = self.adapters[name]
        offered: Callable[[], Mapping[str, Callable[..., Any]]] | None = getattr(adapter, "handlers", None)
        if offered is None:  # made without the kit, it tells nobody what it obeys before it is asked to
            return True
        handlers = offered()
        if command not in handlers:
            known = ", ".join(sorted(handlers)) or "none"
            words = f"{name} knows no command {command!r}; it knows: {known}"
            self.problems.say("R003", words, *path, "command")
            return False
        try:
            inspect.signature(handlers[command]).bind(**arguments)
        except TypeError as error:
            self.problems.say("R003", f"{name}, {command}: {error}", *path, "arguments")
            return False
        return True

    # -- between devices -----------------------------------------------------------------------

    def _check_resources(self) -> None:
        """Say which devices cannot use one port together."""
        accepted: dict[str, Adapter] = {}
        for name, adapter in self.adapters.items():
            try:
                groups = group_by_resource({**accepted, name: adapter})
            except ResourceConflict as error:
                self.problems.say_error("R006", error, "devices", name)
                continue
            accepted[name] = adapter
            others = [other for other in groups[adapter.resource_id] if other != name]
            if others and _settings(adapter) != _settings(accepted[others[0]]):
                words = f"{others[0]} and {name} open {adapter.resource_id} differently"
                self.problems.say("R006", words, "devices", name)


def _name_problem(name: str) -> str | None:
    try:
        check_topic_name(name)
    except GaplessError as error:
        return error.message
    if ":" in name:
        return "a device's name has no colon: record ids are family:device:n"
    if fold(name).split("/")[0] in _TOPIC_ROOTS:
        return "a device's name does not begin like the topics of a run"
    return None


def _settings(adapter: Adapter) -> Any:
    """Return what devices on one connection must agree on; None for those that do not say."""
    return getattr(adapter, "settings", None)
