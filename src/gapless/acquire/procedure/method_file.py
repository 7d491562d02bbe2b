"""Reading method files, and the lines that their problems stand on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gapless.acquire.problem import ConfigProblem, RigProblems
from gapless.acquire.toml_lines import key_lines, line_of

REFUSAL = "the method cannot run"
_OF_A_BATCH = ("batch", "runs")


@dataclass(frozen=True)
class _Text:
    """One file."""

    path: Path
    tables: dict[str, Any]
    lines: Mapping[tuple[str | int, ...], int]


@dataclass(frozen=True)
class MethodFile:
    """The tables of a method, and the file or two files that they come from."""

    tables: dict[str, Any]
    steps: _Text
    runs: _Text

    def locate(self, problem: ConfigProblem) -> ConfigProblem:
        """Return the problem with its file and line."""
        text = self.runs if problem.path[:1] and problem.path[0] in _OF_A_BATCH else self.steps
        return replace(problem, file=str(text.path), line=line_of(text.lines, problem.path))


def read_method_file(path: Path) -> MethodFile:
    """Return the tables of a method file, or those of a batch file joined with the method that it names.

    Raises RigProblems.
    """
    text = _read(path)
    if not isinstance(text.tables.get("method"), str):
        return MethodFile(text.tables, text, text)
    base = _read(path.parent / text.tables["method"])
    strange = [key for key in text.tables if key not in ("method", *_OF_A_BATCH)]
    twice = [key for key in _OF_A_BATCH if key in base.tables]
    if strange or twice or "runs" not in text.tables:
        problem = ConfigProblem(
            "R002",
            "a batch file has method, batch and [[runs]], and the method it names has no runs of its own",
            ("method",),
            fix="see docs/methods.md",
        )
        raise RigProblems([MethodFile({}, text, base).locate(problem)], REFUSAL)
    own = {key: text.tables[key] for key in _OF_A_BATCH if key in text.tables}
    return MethodFile({**base.tables, **own}, base, text)


def _read(path: Path) -> _Text:
    try:
        text = path.read_text(encoding="utf-8")
        return _Text(path, tomllib.loads(text), key_lines(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = ConfigProblem("R001", f"{path}: {error}", file=str(path))
        raise RigProblems([problem], REFUSAL) from error
