"""What a recording asks of its server besides the streams of its topics: to begin it, and to end it."""

from __future__ import annotations

import time
from typing import Any, Final

from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.lane_sender import may_pass
from gapless.client.remote.lane_way import opening_words, place_words
from gapless.errors import GaplessError, StateError
from gapless.store.declaration import TopicDeclaration
from gapless.store.handover import OverflowPolicy

PAUSE_S: Final = 0.1  # between two attempts
_END_S: Final = 600.0  # a seal may take long; a dead server is noticed long before


class UplinkServer:
    """The server of one recording, by single calls of at most ``call_s`` each."""

    def __init__(self, pool: ConnectionPool, header: dict[str, Any], call_s: float) -> None:
        self.pool = pool
        self.call_s = call_s
        self.max_batch_bytes: int | None = None  # known when the recording has begun there
        self.lease_s: float | None = (
            None  # likewise: how long it waits for a word of a client without a stream
        )
        self._header = header

    def begin(self) -> None:
        """Begin the sequence, and learn how much the server takes at one time."""
        with self.pool.connection() as connection:
            self.open(connection)
            told = connection.action(protocol.INFO, timeout_s=self.call_s)
            self.max_batch_bytes = int(told["limits"]["max_batch_bytes"])
            self.lease_s = float(told["limits"]["lease_s"])

    def open(self, connection: Connection) -> dict[str, Any]:
        """Begin the sequence, or take it up again: after a restart the server looks for it in its store.

        Returns what the server has of it. Raises NameTaken, and StateError when somebody else has ended it.
        """
        answer = connection.action(protocol.OPEN, opening_words(self._header), timeout_s=self.call_s)
        if answer.get("state") != "open":
            raise StateError(
                "the sequence was ended on the server by somebody else",
                sequence=self._header["name"],
                found=answer.get("state"),
                expected="open",
            )
        return answer

    def notes(self, connection: Connection) -> int:
        """Return how many gaps and artifacts the server has."""
        return int(self.open(connection)["notes"])

    def declare(self, declaration: TopicDeclaration) -> None:
        """Make the topic known; doing it again changes nothing."""
        words = {
            **place_words(self._header),
            "declaration": declaration.to_json(),
            "on_full": str(OverflowPolicy.BLOCK),  # the topic's own policy was carried out here
        }
        with self.pool.connection() as connection:
            self.open(connection)
            connection.action(protocol.TOPIC, words, timeout_s=self.call_s)

    def end(self, action: str, document: dict[str, Any], patience_s: float) -> dict[str, Any]:
        """Ask for an end, again while the server is away; an end whose answer was lost is answered the same."""
        give_up = time.monotonic() + patience_s
        while True:
            try:
                with self.pool.connection() as connection:
                    return connection.action(action, document, timeout_s=_END_S)
            except GaplessError as error:
                if not may_pass(error) or time.monotonic() > give_up:
                    raise
            time.sleep(PAUSE_S)
