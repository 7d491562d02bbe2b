"""What is wrong with a configuration file: each problem with its code, its line and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from gapless.errors import RigRefused

#: Explained by `gapless explain CODE`.
FINDINGS = {
    "R001": "The file is not TOML, or cannot be read.",
    "R002": "A key is unknown or missing, or its value has the wrong type or range.",
    "R003": "A name refers to something that the rig does not have.",
    "R004": "A setting has no effect as the rig stands, so it would promise what nobody enforces.",
    "R005": "Units, names, groups or limits do not fit together.",
    "R006": "Two devices claim one port, bus or camera.",
    "R007": "An environment variable that the rig uses is not set.",
}
_FIXES = {
    "R001": "mend the line that is named",
    "R002": "see docs/rig.md for the keys of each table",
    "R003": "correct the name, or declare what it means",
    "R004": "remove it, or add what makes it work",
    "R005": "correct the lines that are named",
    "R006": "give each its own, or use an adapter that shares it",
    "R007": "set the variable, or write ${NAME:-default}",
}


@dataclass(frozen=True)
class ConfigProblem:
    """One problem. ``path`` leads to the value in the file; ``line`` counts from 1, None where unknown."""

    code: str
    message: str
    path: tuple[str | int, ...] = ()
    file: str | None = None
    line: int | None = None
    fix: str = ""
    severity: str = "error"

    def __str__(self) -> str:
        place = f"{self.file or 'rig'}:{self.line}: " if self.line is not None else ""
        where = ".".join(str(part) for part in self.path)
        return f"{place}{where + ': ' if where else ''}{self.message} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON values."""
        return {**asdict(self), "path": list(self.path), "fix": self.fix or _FIXES[self.code]}


class RigProblems(RigRefused):
    """A configuration was refused; :attr:`problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[ConfigProblem], what: str = "the rig cannot run") -> None:
        self.problems = list(problems)
        count = len(self.problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{what} as it is written: {count} problem{'s' if count != 1 else ''}{lines}\n")

    def __reduce__(self) -> tuple[object, ...]:
        return (RigProblems, (self.problems,))
