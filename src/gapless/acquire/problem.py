"""What is wrong with a configuration file: each problem with its code, its line and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    "R008": "A library that the rig needs is not installed.",
    "R009": "A program that the rig names, an adapter or an analyzer, cannot be used.",
    "R010": "Nothing makes a device safe that the rig commands. Only a warning.",
}
_FIXES = {
    "R001": "mend the line that is named",
    "R002": "see docs/rig.md for the keys of each table",
    "R003": "correct the name, or declare what it means",
    "R004": "remove it, or add what makes it work",
    "R005": "correct the lines that are named",
    "R006": "give each its own, or use an adapter that shares it",
    "R007": "set the variable, or write ${NAME:-default}",
    "R008": "install the extra that is named",
    "R009": "mend or remove the program that is named",
    "R010": "give the device a safe_state, or be there when the run ends",
}


@dataclass(frozen=True)
class ConfigProblem:
    """One problem. ``path`` leads to the value in the file; ``line`` counts from 1, None where unknown.

    An error refuses the file; a warning does not.
    """

    code: str
    message: str
    path: tuple[str | int, ...] = ()
    file: str | None = None
    line: int | None = None
    fix: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.file or 'rig'}:{self.line}: " if self.line is not None else ""
        kind = "warning: " if self.severity == "warning" else ""
        where = ".".join(str(part) for part in self.path)
        return f"{place}{kind}{where + ': ' if where else ''}{self.message} [{self.code}]"

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return self.fix or _FIXES[self.code]

    def to_json(self) -> dict[str, Any]:
        """Return the problem as JSON values."""
        return {**asdict(self), "path": list(self.path), "fix": self.next_step}


class RigProblems(RigRefused):
    """A configuration was refused; :attr:`problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[ConfigProblem], what: str = "the rig cannot run") -> None:
        self.problems = list(problems)
        self._what = what
        count = len(self.problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(
            f"{what} as it is written: {count} problem{'s' if count != 1 else ''}{lines}\nNothing was done"
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (RigProblems, (self.problems, self._what))
