"""From the tables of a rig file to a rig, collecting everything that is wrong on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from gapless.acquire.analyzer import analyzers_of
from gapless.acquire.channel import ChannelSpec
from gapless.acquire.problem_list import ProblemList, did_you_mean
from gapless.acquire.rig import Rig
from gapless.acquire.rig_channels import RigChannels
from gapless.acquire.rig_devices import RigDevices
from gapless.acquire.setpoints import Setpoints
from gapless.acquire.settings import RecordingSpec, RunSettings, SetpointSpec
from gapless.errors import GaplessError
from gapless.model.metadata import INT64_MAX, INT64_MIN, check_metadata
from gapless.model.names import check_sequence_name

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_KEYS = (
    "name", "group", "metadata", "run", "devices", "channels", "setpoints", "recording", "analyzers",
)  # fmt: skip


class RigReader:
    """Reads one rig; :attr:`problems` is everything that was found, each with the path to it."""

    def __init__(self, tables: Mapping[str, Any], environ: Mapping[str, str], path: Path | None) -> None:
        self._path = path
        self._environ = environ
        self._list = ProblemList()
        self.problems = self._list.problems
        self._devices = RigDevices(self._list)
        self._tables: dict[str, Any] = self._filled(tables, ())

    def read(self) -> Rig | None:
        """Return the rig, or None when anything refuses it."""
        tables, say = self._tables, self._list
        self._check_keys()
        name, group, metadata = self._name(), self._group(), self._metadata()
        run = say.checked(RunSettings, tables.get("run", {}), "run")
        recording = say.checked(RecordingSpec, tables.get("recording", {}), "recording")
        self._devices.read(tables.get("devices"))
        setpoints = self._setpoints(tables.get("setpoints", {}))
        analyzers = self._analyzers(tables.get("analyzers", []))
        reader = RigChannels(say, self._devices.declared, self._devices.fields, analyzers)
        channels = reader.read(tables.get("channels", []))
        if run is not None and run.clock == "simulated":
            self._check_simulated()
        if run is None or recording is None or say.has_errors:
            return None
        if not self._patterns_match(recording, channels):
            return None
        return Rig(
            name=name,
            devices=self._devices.entries,
            channels=channels,
            setpoints=setpoints,
            run=run,
            recording=recording,
            analyzers=analyzers,
            group=group,
            metadata=metadata,
            path=self._path,
        )

    # -- values --------------------------------------------------------------------------------

    def _filled(self, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return the value with every ``${NAME}`` and ``${NAME:-default}`` filled in.

        What a rig's JSON could not hold is said here, wherever it stands.
        """
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    self._list.spoil("R002", "a key is text", *path, str(key))
            return {str(key): self._filled(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(inner, (*path, n)) for n, inner in enumerate(value)]
        if isinstance(value, date | time):
            self._list.spoil("R002", "a date or time is written as text, in quotes", *path)
        elif isinstance(value, float) and not math.isfinite(value):
            self._list.spoil("R002", f"{value} is no number to work with", *path)
        elif isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
            self._list.spoil("R002", "the number needs more than 64 bits", *path)
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: tuple[str | int, ...]) -> str:
        for found in _VARIABLE.finditer(text):
            if found[2] is None and found[1] not in self._environ:
                self._list.spoil("R007", f"the environment variable {found[1]} is not set", *path)
                return text
        return _VARIABLE.sub(lambda found: self._environ.get(found[1], found[2]), text)

    def _check_keys(self) -> None:
        for key in self._tables:
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS)
                belongs = "; it belongs into [run]" if key in RunSettings.model_fields else hint
                self._list.say("R002", f"unknown key{belongs}", key)

    def _name(self) -> str:
        given = self._tables.get("name", self._path.stem if self._path is not None else "rig")
        try:
            return check_sequence_name(given)
        except GaplessError as error:
            self._list.say_error("R005", error, "name")
            return "rig"

    def _group(self) -> str | None:
        given = self._tables.get("group")
        if given is not None and not (isinstance(given, str) and given):
            self._list.say("R002", "group is text", "group")
        return given if isinstance(given, str) else None

    def _metadata(self) -> dict[str, Any]:
        try:
            return check_metadata(self._tables.get("metadata"))
        except GaplessError as error:
            if not self._list.has_errors:  # a value that JSON cannot hold is said already, with its path
                self._list.say_error("R002", error, "metadata")
            return {}

    # -- tables that refer to devices and channels ---------------------------------------------

    def _setpoints(self, given: Any) -> dict[str, SetpointSpec]:
        if not isinstance(given, Mapping):
            self._list.say("R002", "setpoints are tables [setpoints.NAME]", "setpoints")
            return {}
        found = {
            name: self._list.checked(SetpointSpec, table, "setpoints", name) for name, table in given.items()
        }
        specs = {name: spec for name, spec in found.items() if spec is not None}
        for name, spec in specs.items():
            self._check_setpoint(name, spec)
        for first, second in Setpoints(specs, self._devices.adapters).contradictions():
            words = f"sets what {first} sets, within other limits: each command would be held to both"
            self._list.say("R005", words, "setpoints", second)
        return specs

    def _check_setpoint(self, name: str, spec: SetpointSpec) -> None:
        path, devices = ("setpoints", name), self._devices
        if spec.device not in devices.declared:
            self._list.say("R003", f"there is no device {spec.device!r}", *path, "device")
        if spec.device not in devices.adapters:
            return
        self._check_limits(spec, *path)
        if devices.entries[spec.device].config.safe_state is None:
            words = f"{spec.device} has no safe_state: whatever ends a run, it stays as it was set"
            self._list.say("R010", words, *path, "device", severity="warning")

    def _check_limits(self, spec: SetpointSpec, *path: str | int) -> None:
        """Say what the device would refuse of the command, at either limit."""
        devices, arguments = self._devices, {**spec.arguments, spec.value_argument: 0.0}
        if not devices.knows(spec.device, spec.command, arguments, *path):
            return
        for limit in (spec.low, spec.high):
            arguments[spec.value_argument] = limit
            if limit is not None and not devices.takes(spec.device, spec.command, arguments, *path):
                return

    def _analyzers(self, given: Any) -> tuple[str, ...]:
        if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
            self._list.say("R002", 'analyzers is a list of "module:function"', "analyzers")
            return ()
        for n, reference in enumerate(given):
            self._check_analyzer(reference, n)
        return tuple(given)

    def _check_analyzer(self, reference: str, n: int) -> None:
        """Import an analyzer: another's program, which may do anything."""
        try:
            analyzers_of([reference], ())
        except GaplessError as error:
            self._list.say_error("R009", error, "analyzers", n)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            words = f"{reference} breaks when it is imported: {type(error).__name__}: {error}"
            self._list.say("R009", words, "analyzers", n)

    # -- what would have no effect -------------------------------------------------------------

    def _check_simulated(self) -> None:
        entries = self._devices.entries
        real = [n for n, e in entries.items() if not getattr(e.adapter_class, "keeps_simulated_time", False)]
        if real:
            words = f"clock = simulated, and these devices are not: {', '.join(real)}"
            self._list.say("R004", words, "run", "clock")

    def _patterns_match(self, recording: RecordingSpec, channels: Sequence[ChannelSpec]) -> bool:
        """Tell whether each pattern of the recording plan matches something; say it of those that do not."""
        names = [*(spec.name for spec in channels), *self._devices.declared]
        for key, patterns in (("include", recording.include), ("exclude", recording.exclude)):
            for n, pattern in enumerate(patterns if key in self._tables.get("recording", {}) else ()):
                if not any(RecordingSpec(include=(pattern,)).keeps(name) for name in names):
                    words = f"{pattern!r} matches no channel and no camera"
                    self._list.say("R004", words, "recording", key, n)
        return not self._list.has_errors
