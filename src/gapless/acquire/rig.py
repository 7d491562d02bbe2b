"""A rig: devices, the channels bound to them, setpoints and how a run is recorded, read from TOML.

All problems of a file are reported at once, each with its line. A setting that nothing would enforce is
refused: a rig never promises a safety that is not there.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gapless.acquire.channel import ChannelSpec
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.problem import ConfigProblem, RigProblems
from gapless.acquire.settings import RecordingSpec, RunSettings, SetpointSpec
from gapless.acquire.toml_lines import key_lines, line_of

_SECRETS = {"password", "passwd", "passphrase", "token", "secret", "key"}
_LOGIN = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+@")
_TOML_LINE = re.compile(r"\(at line (\d+),")


@dataclass(frozen=True)
class DeviceEntry:
    """One device of a rig: its name, its table, and the class that is made of both."""

    name: str
    config: DeviceConfig
    adapter_class: type[Any]


@dataclass(frozen=True)
class Rig:
    """Everything a run needs to know; made by :func:`load_rig` or :meth:`of`, which check it."""

    name: str
    devices: dict[str, DeviceEntry]
    channels: tuple[ChannelSpec, ...] = ()
    setpoints: dict[str, SetpointSpec] = field(default_factory=dict)
    run: RunSettings = field(default_factory=RunSettings)
    recording: RecordingSpec = field(default_factory=RecordingSpec)
    analyzers: tuple[str, ...] = ()
    group: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    warnings: tuple[ConfigProblem, ...] = ()

    @classmethod
    def of(cls, tables: Mapping[str, Any], *, environ: Mapping[str, str] = os.environ) -> Rig:
        """Return the rig that nested mappings describe, as a TOML file would. Raises RigProblems."""
        return _make(tables, environ, None, {})

    def make_adapters(self) -> dict[str, Any]:
        """Return a new adapter for each device; none is opened."""
        return {name: entry.adapter_class(name, entry.config) for name, entry in self.devices.items()}

    def snapshot(self) -> dict[str, Any]:
        """Return the configuration as it runs, as JSON values, with secrets masked.

        Masked is what a key ending in password, token, secret or key holds, and the password in an address.
        """
        return {
            "name": self.name,
            "group": self.group,
            "metadata": self.metadata,
            "run": self.run.model_dump(mode="json"),
            "devices": {name: _masked(e.config.model_dump(mode="json")) for name, e in self.devices.items()},
            "channels": [spec.model_dump(mode="json", exclude_defaults=True) for spec in self.channels],
            "setpoints": {name: spec.model_dump(mode="json") for name, spec in self.setpoints.items()},
            "recording": self.recording.model_dump(mode="json"),
            "analyzers": list(self.analyzers),
        }


def load_rig(path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ) -> Rig:
    """Return the rig of a TOML file, or raise RigProblems with everything that is wrong with it."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise RigProblems([ConfigProblem("R001", str(error), file=str(path))]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        found = _TOML_LINE.search(str(error))
        line = int(found[1]) if found is not None else None
        words = f"{path}: {error}" if line is None else str(error)
        raise RigProblems([ConfigProblem("R001", words, file=str(path), line=line)]) from error
    return _make(tables, environ, path, key_lines(text))


def _make(
    tables: Mapping[str, Any],
    environ: Mapping[str, str],
    path: Path | None,
    lines: Mapping[tuple[str | int, ...], int],
) -> Rig:
    from gapless.acquire.rig_reader import RigReader

    reader = RigReader(tables, environ, path)
    rig = reader.read()
    problems = _located(reader.problems, path, lines)
    if rig is None:
        raise RigProblems(problems)
    return replace(rig, warnings=tuple(problems))


def _located(
    problems: Iterable[ConfigProblem], path: Path | None, lines: Mapping[tuple[str | int, ...], int]
) -> list[ConfigProblem]:
    """Return the problems with file and line, in the order of the file."""
    file = None if path is None else str(path)
    placed = [replace(problem, file=file, line=line_of(lines, problem.path)) for problem in problems]
    return sorted(placed, key=lambda problem: problem.line or 0)


def _masked(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, key) for inner in value]
    if value and key.lower().split("_")[-1] in _SECRETS:
        return "***"
    return _LOGIN.sub(r"\1:***@", value) if isinstance(value, str) else value
