"""Reports that are on their way to a hub: one SQLite file that outlives the process which wrote them.

A report is durable when :meth:`Outbox.add` returns. It keeps its place in its task's order and its idempotency
key for ever, so that sending it again after a crash is harmless, and it is never deleted.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gapless.catalog.state_database import DurableDatabase
from gapless.errors import MetadataRefused, SequenceOwned
from gapless.observe.hub_request import MAX_BODY_BYTES
from gapless.store.platform import Platform

_TABLES = """
CREATE TABLE IF NOT EXISTS reports (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  hub TEXT NOT NULL,
  task TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting',
  attempts INTEGER NOT NULL DEFAULT 0,
  last_error TEXT
);
CREATE INDEX IF NOT EXISTS reports_order ON reports (hub, state, task, number)
"""
_COLUMNS = "number, hub, task, kind, key, body, state, attempts, last_error"


class ReportKind(StrEnum):
    """What is reported."""

    SUBMIT = "submit"  # an episode that ended
    STOP = "stop"  # the end of the task; after all its episodes


class ReportState(StrEnum):
    """How far a report is."""

    WAITING = "waiting"
    SENT = "sent"
    REFUSED = "refused"  # the hub will never take it


@dataclass(frozen=True)
class Report:
    """One report. ``hub``: the URL it goes to; ``key``: by which a hub knows it again; ``body``: JSON text."""

    number: int
    hub: str
    task: str
    kind: ReportKind
    key: str
    body: str
    state: ReportState
    attempts: int
    last_error: str | None


class Outbox:
    """The reports in the file ``path``, shared by any number of processes and threads.

    Raises NotFound without the folder, IntegrityError for a damaged file, StorageFailed, CatalogBusy.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._database = DurableDatabase(self.path)
        self._database.ensure(_TABLES)

    def close(self) -> None:
        """Release the file; the next call opens it again."""
        self._database.close()

    def add(self, hub: str, task: str, kind: ReportKind, body: Mapping[str, Any]) -> str:
        """Put a report at the end of its task and return its key; raises MetadataRefused unless it is JSON."""
        key = uuid.uuid4().hex
        self.put(hub, task, kind, json_text(body), key)
        return key

    def put(self, hub: str, task: str, kind: ReportKind, text: str, key: str) -> None:
        """Put a report at the end of its task; one whose key is here already changes nothing."""
        self._database.ensure(_TABLES)
        self._database.rows(
            "INSERT INTO reports (hub, task, kind, key, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (hub, task, str(kind), key, text),
        )

    def heads(self, hub: str) -> list[Report]:
        """Return the next report of each task of a hub that has one waiting, the oldest first."""
        return self._reports(
            "WHERE number IN (SELECT min(number) FROM reports WHERE hub = ? AND state = 'waiting' GROUP BY task)",
            (hub,),
        )

    def reports(self, states: Collection[ReportState] = tuple(ReportState)) -> list[Report]:
        """Return the reports in some states, in the order in which they were added."""
        marks = ", ".join("?" * len(states))
        return self._reports(f"WHERE state IN ({marks})", tuple(map(str, states)))

    def waiting(self) -> dict[str, int]:
        """Return how many reports wait for each hub that any wait for."""
        self._database.ensure(_TABLES)
        return dict(
            self._database.rows("SELECT hub, count(*) FROM reports WHERE state = 'waiting' GROUP BY hub")
        )

    def failed(self, report: Report, error: str, *, forever: bool) -> None:
        """Count an attempt that failed; ``forever``: it is not tried again."""
        state = ReportState.REFUSED if forever else ReportState.WAITING
        self._mark(report, state, error)

    def sent(self, report: Report) -> None:
        """Count an attempt that succeeded."""
        self._mark(report, ReportState.SENT, None)

    def try_again(self) -> int:
        """Let the refused reports wait again; return how many they are."""
        with self._database.transaction():
            found = len(self.reports([ReportState.REFUSED]))
            self._database.rows("UPDATE reports SET state = 'waiting' WHERE state = 'refused'")
        return found

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Yield whether this is the only sender while the block runs; the lock dies with its process."""
        platform = Platform()
        try:
            lock: int | None = platform.lock(self.path.with_name(f"{self.path.name}-lock"))
        except SequenceOwned:
            lock = None
        try:
            yield lock is not None
        finally:
            if lock is not None:
                platform.close(lock)

    def _mark(self, report: Report, state: ReportState, error: str | None) -> None:
        self._database.rows(
            "UPDATE reports SET state = ?, attempts = attempts + 1, last_error = ? WHERE number = ?",
            (str(state), error, report.number),
        )

    def _reports(self, condition: str, values: tuple[str, ...]) -> list[Report]:
        self._database.ensure(_TABLES)
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM reports {condition} ORDER BY number", values)
        return [
            Report(number, hub, task, ReportKind(kind), key, body, ReportState(state), attempts, error)
            for number, hub, task, kind, key, body, state, attempts, error in rows
        ]


def json_text(body: Mapping[str, Any]) -> str:
    """Return a body as it travels; raises MetadataRefused unless it is JSON of at most 1 MiB."""
    try:
        text = json.dumps(body, sort_keys=True, allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise MetadataRefused("a hub takes JSON only", found=str(error)) from error
    if len(text) > MAX_BODY_BYTES:
        raise MetadataRefused("this is too much for a hub", found=f"{len(text)} bytes", expected="1 MiB")
    return text
