"""What an import or an export did, row by row where something was refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MAX_LISTED = 100_000  # bad rows kept in memory; all of them are counted


class BadRow(NamedTuple):
    """A row that could not be read: the line of the file it begins in (or its row number), why, its text."""

    line: int
    reason: str
    text: str
    file: str = ""


@dataclass
class ImportReport:
    """What an import stored and refused.

    ``rows`` counts stored rows per topic, ``bad`` lists the refused ones up to a bound and ``bad_rows``
    counts all of them, ``assumed`` says how the files were understood.
    """

    sequence: str
    rows: dict[str, int] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    bad_rows: int = 0
    assumed: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when every row was stored, 1 when rows were refused."""
        return 1 if self.bad_rows else 0

    def add_bad(self, row: BadRow) -> None:
        """Count a refused row and list it while there is room."""
        self.bad_rows += 1
        if len(self.bad) < MAX_LISTED:
            self.bad.append(row)


class ExportedFile(NamedTuple):
    """One file that an export wrote."""

    topic: str
    path: Path
    rows: int


@dataclass
class ExportReport:
    """The files that an export wrote."""

    sequence: str
    files: list[ExportedFile] = field(default_factory=list)
