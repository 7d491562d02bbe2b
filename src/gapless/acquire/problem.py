"""What is wrong with a configuration file: each problem with its code, its line and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from gapless.errors import RigRefused

#: Explained by `gapless explain CODE`.
FINDINGS = {
    "R001": (
        "the file is not TOML, or cannot be read",
        "mend the line that is named; a TOML editor shows it",
    ),
    "R002": ("a key is unknown, missing, or has a value of the wrong type or range", "see docs/rig.md"),
    "R003": ("a name refers to something that the rig does not have", "correct the name, or declare it"),
    "R004": (
        "a setting has no effect as the rig stands, so it would promise what nobody enforces",
        "remove it",
    ),
    "R005": ("units, names, groups or limits do not fit together", "correct the lines that are named"),
    "R006": (
        "two devices claim one port, bus or camera",
        "give each its own, or use an adapter that shares it",
    ),
    "R007": ("an environment variable that the rig uses is not set", "set it, or write ${NAME:-default}"),
    "R008": ("a device did not answer", "check power, cable and address"),
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
        return {**asdict(self), "path": list(self.path), "fix": self.fix or FINDINGS[self.code][1]}


class RigProblems(RigRefused):
    """A configuration was refused; :attr:`problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[ConfigProblem], what: str = "the rig cannot run") -> None:
        self.problems = list(problems)
        count = len(self.problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{what} as it is written: {count} problem{'s' if count != 1 else ''}{lines}\n")

    def __reduce__(self) -> tuple[object, ...]:
        return (RigProblems, (self.problems,))
