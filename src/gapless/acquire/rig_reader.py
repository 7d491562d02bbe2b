"""From the tables of a rig file to a rig, collecting everything that is wrong on the way."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gapless.acquire.adapter import DeviceField
from gapless.acquire.calibration.resolution import resolve_channels
from gapless.acquire.channel import ChannelSpec, read_channels
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.pool import group_by_resource
from gapless.acquire.problem import ConfigProblem
from gapless.acquire.registry import adapter_class, adapter_names
from gapless.acquire.rig import DeviceEntry, Rig
from gapless.acquire.settings import RecordingSpec, RunSettings, SetpointSpec
from gapless.errors import GaplessError, NotFound, ResourceConflict
from gapless.model.names import check_sequence_name, check_topic_name

Model = TypeVar("Model", bound=BaseModel)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_TOP = {
    "name", "group", "metadata", "run", "devices", "channels", "setpoints", "recording", "analyzers",
}  # fmt: skip


class RigReader:
    """Reads one rig; :attr:`problems` is everything that was found, each with the path to it."""

    def __init__(self, tables: dict[str, Any], environ: Mapping[str, str], path: Path | None) -> None:
        self.problems: list[ConfigProblem] = []
        self._path = path
        self._environ = environ
        self._tables = {key: self._filled(value, (key,)) for key, value in tables.items()}

    def _say(self, code: str, message: str, *path: str | int, fix: str = "") -> None:
        self.problems.append(ConfigProblem(code, message, path, fix=fix))

    def read(self) -> Rig | None:
        """Return the rig, or None where it is not even possible to make one."""
        self._check_keys()
        devices = self._devices()
        run = self._model(RunSettings, self._tables.get("run", {}), "run") or RunSettings()
        recording = self._model(RecordingSpec, self._tables.get("recording", {}), "recording")
        setpoints = self._setpoints(devices)
        adapters = self._adapters(devices)
        channels = self._channels({name: a.channel_fields() for name, a in adapters.items()})
        self._check_effects(devices, adapters, run, recording, channels)
        name = self._name()
        metadata: Any = self._tables.get("metadata", {})
        if not isinstance(metadata, dict):
            self._say("R002", "metadata is a table", "metadata")
        if self.problems or not devices:
            return None
        return Rig(
            name=name,
            devices=devices,
            channels=channels,
            setpoints=setpoints,
            run=run,
            recording=recording or RecordingSpec(),
            analyzers=tuple(self._tables.get("analyzers", ())),
            group=self._tables.get("group"),
            metadata=metadata,
            path=self._path,
        )

    # -- text ----------------------------------------------------------------------------------

    def _filled(self, value: Any, path: tuple[str | int, ...]) -> Any:
        """Return the value with every ``${NAME}`` and ``${NAME:-default}`` filled in."""
        if isinstance(value, dict):
            return {key: self._filled(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._filled(inner, (*path, n)) for n, inner in enumerate(value)]
        if not isinstance(value, str):
            return value

        def fill(found: re.Match[str]) -> str:
            given: str | None = self._environ.get(found[1], found[2])
            if given is None:
                self._say("R007", f"the environment variable {found[1]} is not set", *path)
            return given or ""

        return _VARIABLE.sub(fill, value)

    def _check_keys(self) -> None:
        for key in self._tables:
            if key not in _TOP:
                near = difflib.get_close_matches(key, _TOP, 1)
                self._say("R002", f"unknown key{f'; did you mean {near[0]}?' if near else ''}", key)

    def _name(self) -> str:
        given = self._tables.get("name", self._path.stem if self._path is not None else "rig")
        try:
            return check_sequence_name(given)
        except GaplessError as error:
            self._say("R005", error.message, "name")
            return "rig"

    def _model(self, kind: type[Model], table: Any, *path: str | int) -> Model | None:
        """Return a checked table; each of its problems is said with the path to it."""
        try:
            return kind.model_validate(table)
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                key = problem["loc"][-1] if problem["loc"] else ""
                near = difflib.get_close_matches(str(key), kind.model_fields, 1)
                hint = f"; did you mean {near[0]}?" if near and problem["type"] == "extra_forbidden" else ""
                words = (
                    problem["msg"]
                    .replace("Value error, ", "")
                    .replace("Extra inputs are not permitted", "unknown key")
                )
                self._say("R002", f"{words}{hint}", *path, *problem["loc"])
            return None

    # -- devices -------------------------------------------------------------------------------

    def _devices(self) -> dict[str, DeviceEntry]:
        tables = self._tables.get("devices", {})
        if not isinstance(tables, dict) or not tables:
            self._say("R002", "a rig has at least one table [devices.NAME]", "devices")
            return {}
        found = {name: self._device(name, table) for name, table in tables.items()}
        return {name: entry for name, entry in found.items() if entry is not None}

    def _device(self, name: str, table: Any) -> DeviceEntry | None:
        path = ("devices", name)
        try:
            check_topic_name(name)
            if ":" in name:
                self._say("R005", "a device's name has no colon: record ids are family:device:n", *path)
        except GaplessError as error:
            self._say("R005", error.message, *path)
        adapter = table.get("adapter") if isinstance(table, dict) else None
        if not isinstance(adapter, str):
            self._say("R002", "a device names its adapter", *path, "adapter")
            return None
        try:
            kind = adapter_class(adapter)
        except NotFound:
            near = difflib.get_close_matches(adapter, adapter_names(), 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(adapter_names())}"
            self._say("R003", f"there is no adapter {adapter!r}{hint}", *path, "adapter")
            return None
        config = self._model(kind.Config, table, *path)
        return None if config is None else DeviceEntry(name, config, kind)

    def _adapters(self, devices: Mapping[str, DeviceEntry]) -> dict[str, Any]:
        made = {}
        for name, entry in devices.items():
            try:
                made[name] = entry.adapter_class(name, entry.config)
            except GaplessError as error:
                self._say("R002", _words(error), "devices", name)
        try:
            group_by_resource(made)
        except ResourceConflict as error:
            self._say("R006", _words(error), "devices")
        return made

    def _setpoints(self, devices: Mapping[str, DeviceEntry]) -> dict[str, SetpointSpec]:
        found = {}
        for name, table in self._tables.get("setpoints", {}).items():
            spec = self._model(SetpointSpec, table, "setpoints", name)
            if spec is None:
                continue
            if spec.device not in devices:
                self._say("R003", f"there is no device {spec.device!r}", "setpoints", name, "device")
            if spec.low is not None and spec.high is not None and not spec.low < spec.high:
                self._say("R005", "low lies below high", "setpoints", name, "low")
            found[name] = spec
        return found

    # -- channels ------------------------------------------------------------------------------

    def _channels(self, fields: Mapping[str, list[DeviceField]]) -> tuple[ChannelSpec, ...]:
        given = self._tables.get("channels", [])
        is_table = isinstance(given, dict)
        tables = [{"name": name, **table} for name, table in given.items()] if is_table else given
        specs = []
        for n, table in enumerate(tables):
            path: tuple[str | int, ...] = ("channels", table["name"] if is_table else n)
            spec = self._model(ChannelSpec, table, *path)
            if spec is None:
                continue
            if spec.device is not None and spec.device not in fields:
                self._say("R003", f"there is no device {spec.device!r}", *path, "device")
                continue
            specs.append(spec)
        if len(specs) < len(tables):
            return ()
        return self._resolved(
            specs, fields, [("channels", t["name"] if is_table else n) for n, t in enumerate(tables)]
        )

    def _resolved(
        self,
        specs: list[ChannelSpec],
        fields: Mapping[str, list[DeviceField]],
        paths: list[tuple[str | int, ...]],
    ) -> tuple[ChannelSpec, ...]:
        """Return the channels with what their devices say of units; each problem goes to its channel's lines."""
        try:
            return resolve_channels(read_channels(specs), fields)
        except GaplessError as error:
            for words in error.message.split("; channel "):
                name = re.match(r"(?:channel )?'([^']+)'", words)
                at = [path for path, spec in zip(paths, specs, strict=True) if name and spec.name == name[1]]
                self._say("R005", words.removeprefix("channel "), *(at[0] if at else ("channels",)))
            return ()

    # -- effects -------------------------------------------------------------------------------

    def _check_effects(
        self,
        devices: Mapping[str, DeviceEntry],
        adapters: Mapping[str, Any],
        run: RunSettings,
        recording: RecordingSpec | None,
        channels: tuple[ChannelSpec, ...],
    ) -> None:
        """Refuse what would have no effect, and what the devices cannot do."""
        for name, adapter in adapters.items():
            self._check_safe_state(name, devices[name].config, adapter)
        if run.clock == "simulated":
            real = [
                n for n, e in devices.items() if not getattr(e.adapter_class, "keeps_simulated_time", False)
            ]
            if real:
                self._say(
                    "R004", f"clock = simulated, and these devices are not: {', '.join(real)}", "run", "clock"
                )
        for name, spec in self._tables.get("setpoints", {}).items():
            if isinstance(spec, dict) and spec.get("device") in adapters:
                known = _commands(adapters[spec["device"]])
                if known is not None and spec.get("command") not in known:
                    words = f"{spec['device']} knows no command {spec.get('command')!r}: {', '.join(known)}"
                    self._say("R003", words, "setpoints", name, "command")
        names = [spec.name for spec in channels] + list(devices)
        for key in ("include", "exclude"):
            for pattern in getattr(recording, key, ()) if key in self._tables.get("recording", {}) else ():
                if not any(RecordingSpec(include=(pattern,)).keeps(name) for name in names):
                    self._say("R004", f"{pattern!r} matches no channel and no camera", "recording", key)

    def _check_safe_state(self, name: str, config: DeviceConfig, adapter: Any) -> None:
        safe, known = config.safe_state, _commands(adapter)
        if safe is None or known is None:
            return
        for n, step in enumerate(safe.program):
            if step.command not in known:
                words = f"{name} knows no command {step.command!r}; it knows: {', '.join(known) or 'none'}"
                self._say("R003", words, "devices", name, "safe_state", "program", n, "command")


def _commands(adapter: Any) -> list[str] | None:
    """Return the commands of a device made on the kit; None for one that does not tell."""
    handlers: Callable[[], Mapping[str, Any]] | None = getattr(adapter, "handlers", None)
    return None if handlers is None else sorted(handlers())


def _words(error: GaplessError) -> str:
    return error.message if error.found is None else f"{error.message}: {error.found}"
