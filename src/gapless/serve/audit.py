"""Who changed what, and when: rows in state.db that are never taken away."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gapless.catalog.state_database import StateDatabase, look
from gapless.errors import GaplessError

_LOG = logging.getLogger("gapless.serve")
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS audit (
    row_id INTEGER PRIMARY KEY,
    time_ns INTEGER NOT NULL,
    key_id TEXT,
    peer TEXT NOT NULL,
    verb TEXT NOT NULL,
    what TEXT NOT NULL,
    outcome TEXT NOT NULL
);
"""
_LONGEST: Final = 500  # characters of one text: names come from the network


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act. ``key_id`` None: without a key; ``outcome``: done, begun, failed or the code of an error."""

    row_id: int
    time_ns: int
    key_id: str | None
    peer: str
    verb: str
    what: str
    outcome: str


class Audit:
    """Keeps rows, from any thread; each one is durable when the call returns."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add(self, key_id: str | None, peer: str, verb: str, what: str) -> None:
        """Keep a row about an act that has been done."""
        self._insert(key_id, peer, verb, what, "done")

    def begin(self, key_id: str | None, peer: str, verb: str, what: str) -> int:
        """Keep a row about an act that begins; return what :meth:`end` wants."""
        return self._insert(key_id, peer, verb, what, "begun")

    def end(self, row_id: int, outcome: str) -> None:
        """Note how the act ended; where that is not possible, the row says ``begun`` for ever and the log why."""
        try:
            self._database.rows("UPDATE audit SET outcome = ? WHERE row_id = ?", (outcome, row_id))
        except GaplessError as error:
            _LOG.error("the outcome of audit row %d, %s, could not be kept: %s", row_id, outcome, error)

    def _insert(self, key_id: str | None, peer: str, verb: str, what: str, outcome: str) -> int:
        self._database.ensure(_TABLE)
        row: tuple[Any, ...] = (time.time_ns(), key_id, peer, verb, _storable(what), outcome)
        found = self._database.rows(
            "INSERT INTO audit (time_ns, key_id, peer, verb, what, outcome) VALUES (?, ?, ?, ?, ?, ?)"
            " RETURNING row_id",
            row,
        )
        return int(found[0][0])


def audit_rows(root: Path, *, limit: int | None = None) -> list[AuditRow]:
    """Return the rows of a store, oldest first; the latest ``limit`` of them if that is given."""
    found = look(
        root,
        "SELECT row_id, time_ns, key_id, peer, verb, what, outcome FROM audit ORDER BY row_id DESC LIMIT ?",
        (-1 if limit is None else limit,),
    )
    return [AuditRow(*row) for row in reversed(found)]


def _storable(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "backslashreplace").decode()
