"""Notifications of sequences and topics: what their recordings hold, and what was reported afterwards.

A report about an open sequence goes into its journal, so that it stays with the data. A sealed sequence
never changes, so a later report, and the wish to see older ones no more, are rows of state.db.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gapless.catalog.state_database import StateDatabase
from gapless.client.sequence_handler import SequenceHandler
from gapless.serve.mosaico.opened import opened_ns

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS mosaico_notification (
    id INTEGER PRIMARY KEY,
    sequence TEXT NOT NULL,
    opened_ns INTEGER NOT NULL,
    topic TEXT NOT NULL,
    message TEXT NOT NULL,
    created_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS mosaico_notification_of ON mosaico_notification (sequence, opened_ns);
CREATE TABLE IF NOT EXISTS mosaico_purge (
    sequence TEXT NOT NULL,
    opened_ns INTEGER NOT NULL,
    topic TEXT NOT NULL,
    until_ns INTEGER NOT NULL,
    PRIMARY KEY (sequence, opened_ns, topic)
);
"""


@dataclass(frozen=True, slots=True)
class Told:
    """One notification; ``topic`` is "" where it is about the whole sequence."""

    topic: str
    message: str
    created_ns: int


class Notifications:
    """Those of one store. A sequence is told from a later one of the same name by when it was opened."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def add(self, handler: SequenceHandler, topic: str, message: str) -> None:
        """Keep a report about a sequence that takes no rows any more; durable when the call returns."""
        self._database.ensure(_TABLES)
        self._database.rows(
            "INSERT INTO mosaico_notification (sequence, opened_ns, topic, message, created_ns)"
            " VALUES (?, ?, ?, ?, ?)",
            (handler.name, opened_ns(handler.reader.base), topic, message, time.time_ns()),
        )

    def listed(self, handler: SequenceHandler, topic: str) -> list[dict[str, Any]]:
        """Return the notifications about a topic, or with "" the whole sequence, as the SDK reads them."""
        name = f"{handler.name}/{topic}" if topic else handler.name
        return [
            {
                "name": name,
                "notification_type": "error",
                "msg": told.message,
                "created_datetime": _datetime(told.created_ns),
            }
            for told in self._visible(handler, topic)
        ]

    def purge(self, handler: SequenceHandler, topic: str) -> None:
        """Show those that there are now no more; what is recorded stays recorded."""
        self._database.ensure(_TABLES)
        latest_ns = max([told.created_ns for told in self._visible(handler, topic)], default=0)
        self._database.rows(
            "INSERT OR REPLACE INTO mosaico_purge (sequence, opened_ns, topic, until_ns) VALUES (?, ?, ?, ?)",
            (handler.name, opened_ns(handler.reader.base), topic, max(latest_ns, time.time_ns())),
        )

    def _visible(self, handler: SequenceHandler, topic: str) -> list[Told]:
        self._database.ensure(_TABLES)
        place = (handler.name, opened_ns(handler.reader.base))
        purged = self._database.rows(
            "SELECT until_ns FROM mosaico_purge WHERE sequence=? AND opened_ns=? AND topic=?", (*place, topic)
        )
        until_ns = int(purged[0][0]) if purged else -(2**63)
        later = self._database.rows(
            "SELECT topic, message, created_ns FROM mosaico_notification WHERE sequence=? AND opened_ns=?",
            place,
        )
        found = [*_recorded(handler), *(Told(*row) for row in later)]
        wanted = [told for told in found if told.topic == topic and told.created_ns > until_ns]
        return sorted(wanted, key=lambda told: told.created_ns)


def _recorded(handler: SequenceHandler) -> Iterator[Told]:
    """Yield what the recording itself holds; one about something that is no topic is about the sequence."""
    topics = set(handler.topics)
    for notification in handler.notifications():
        source = notification.source if notification.source in topics else ""
        time_ns = notification.timestamp_ns
        yield Told(
            source, notification.message, opened_ns(handler.reader.base) if time_ns is None else time_ns
        )


def _datetime(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return moment.isoformat()
