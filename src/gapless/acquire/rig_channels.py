"""The channels of a rig: checked one by one, so that what is wrong with one hides nothing of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gapless.acquire.adapter import DeviceField
from gapless.acquire.calibration.resolution import find_field, resolve_channels
from gapless.acquire.channel import ChannelSpec, ancestors, channel_problems, device_of
from gapless.acquire.problem_list import ProblemList
from gapless.errors import GaplessError

Path = tuple[str | int, ...]
Fields = Mapping[str, Sequence[DeviceField]]


class RigChannels:
    """Reads ``[[channels]]`` or ``[channels.NAME]``.

    ``declared``: the devices that the file names. ``fields``: what can be bound, of those devices whose own
    tables are right. ``analyzers``: those that the rig has.
    """

    def __init__(
        self, problems: ProblemList, declared: Sequence[str], fields: Fields, analyzers: Sequence[str]
    ) -> None:
        self._problems = problems
        self._declared = declared
        self._fields = fields
        self._analyzers = analyzers
        self._paths: dict[str, Path] = {}
        self._broken: set[str] = set()  # what is said of them is said already
        self._resolved: dict[str, ChannelSpec] = {}

    def read(self, given: Any) -> tuple[ChannelSpec, ...]:
        """Return the channels that are right, with what their devices say of units."""
        specs = [spec for path, table in self._tables(given) if (spec := self._spec(path, table)) is not None]
        known = {spec.name: spec for spec in specs}
        for words in channel_problems(specs):
            self._say_of_one(words, specs)
        for spec in sorted(specs, key=lambda spec: len(ancestors(spec, known))):  # inputs first
            self._resolve(spec, known)
        return tuple(self._resolved[spec.name] for spec in specs if spec.name in self._resolved)

    def _tables(self, given: Any) -> list[tuple[Path, Any]]:
        if isinstance(given, Mapping):
            return [(("channels", name), self._named(name, table)) for name, table in given.items()]
        if isinstance(given, Sequence) and not isinstance(given, str):
            return [(("channels", n), table) for n, table in enumerate(given)]
        self._problems.say("R002", "channels are [[channels]] or [channels.NAME]", "channels")
        return []

    def _named(self, name: str, table: Any) -> Any:
        if not isinstance(table, Mapping):
            return table
        if table.get("name", name) != name:
            self._problems.say("R005", f"the table is called {name!r}", "channels", name, "name")
        return {**table, "name": name}

    def _spec(self, path: Path, table: Any) -> ChannelSpec | None:
        spec = self._problems.checked(ChannelSpec, table, *path)
        name = table.get("name") if isinstance(table, Mapping) else None
        device = table.get("device") if isinstance(table, Mapping) else None
        is_lost = isinstance(device, str) and device not in self._declared
        if is_lost:
            self._problems.say("R003", f"there is no device {device!r}", *path, "device")
        if spec is None or is_lost:
            self._broken.add(str(name))
        if spec is None:
            return None
        self._paths[spec.name] = path
        if spec.analyzer is not None and spec.analyzer not in self._analyzers:
            self._problems.say("R003", f"the rig has no analyzer {spec.analyzer!r}", *path, "analyzer")
        return spec

    def _say_of_one(self, words: str, specs: Sequence[ChannelSpec]) -> None:
        """Say what is wrong between channels at the one that it is said of."""
        for spec in specs:
            prefix = f"channel {spec.name!r}: "
            if words.startswith(prefix) and not self._rests_on_broken(spec, specs):
                self._problems.say("R005", words.removeprefix(prefix), *self._paths[spec.name])
                self._broken.add(spec.name)
                return

    def _rests_on_broken(self, spec: ChannelSpec, specs: Sequence[ChannelSpec]) -> bool:
        return bool(self._broken & ancestors(spec, {other.name: other for other in specs}))

    def _resolve(self, spec: ChannelSpec, known: Mapping[str, ChannelSpec]) -> None:
        """Check a channel against its device and its inputs, where these are right."""
        inputs = ancestors(spec, known)
        path = self._paths[spec.name]
        if spec.name in self._broken or self._broken & inputs:
            return
        group = [known[name] for name in known if name in inputs and name != spec.name]
        if any(member.device is not None and member.device not in self._fields for member in (*group, spec)):
            return
        if not self._has_field(spec):
            return
        try:
            self._resolved[spec.name] = resolve_channels([*group, spec], self._fields)[-1]
        except GaplessError as error:
            self._broken.add(spec.name)
            self._problems.say_error("R005", error, *path, without=f"channel {spec.name!r}: ")
            return
        self._check_age(spec, known, path)

    def _has_field(self, spec: ChannelSpec) -> bool:
        """Tell whether the channel's device has its field; say it if not."""
        if spec.device is None or spec.field is None:
            return True
        try:
            find_field(spec.field, self._fields[spec.device])
        except GaplessError as error:
            self._broken.add(spec.name)
            self._problems.say_error("R003", error, *self._paths[spec.name], "field")
            return False
        return True

    def _check_age(self, spec: ChannelSpec, known: Mapping[str, ChannelSpec], path: Path) -> None:
        if spec.derived is None:
            return
        is_held = device_of(spec, known) is None
        if is_held and spec.derived.max_age_s is None:
            words = "inputs of several devices need max_age_s: how old those that are held may be"
            self._problems.say("R005", words, *path, "derived")
        if not is_held and spec.derived.max_age_s is not None:
            words = "inputs of one device come in one record; nothing is held that could be too old"
            self._problems.say("R004", words, *path, "derived", "max_age_s")
