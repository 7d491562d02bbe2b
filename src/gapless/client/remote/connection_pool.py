"""A bounded number of connections to one server, shared by lanes so that each is used as little as can be."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gapless.client.remote.connection import CALL_S, SILENCE_S, Connection, Endpoint
from gapless.errors import Unreachable, UsageError, WriterClosed

MAX_CONNECTIONS = 8


class ConnectionPool:
    """At most ``max_connections`` connections; the one with the fewest users is lent.

    Two lanes on one connection still have streams and flow windows of their own: they share a socket only.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_connections: int = MAX_CONNECTIONS,
        call_s: float = CALL_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        if isinstance(max_connections, bool) or not isinstance(max_connections, int) or max_connections < 1:
            raise UsageError(
                "a limit must be a number above 0",
                found=f"max_connections={max_connections!r}",
                expected="> 0",
            )
        self.endpoint = endpoint
        self.max_connections = max_connections
        self._call_s = call_s
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._users: dict[Connection, int] = {}
        self._broken: dict[Connection, int] = {}  # lent no more
        self._closed = False
        self._holders = 0
        self.away_at_s = -math.inf  # when a recording last gave the server up, by the monotonic clock

    def __len__(self) -> int:
        return len(self._users)

    def lend(self) -> Connection:
        """Return the connection with the fewest users, a new one while there may be more; give it back."""
        with self._lock:
            self._check_open()
            free = min(self._users, key=self._users.__getitem__, default=None)
            if free is None or (self._users[free] and len(self._users) < self.max_connections):
                free = Connection(self.endpoint, call_s=self._call_s, silence_s=self._silence_s)
                self._users[free] = 0
            self._users[free] += 1
            return free

    def _check_open(self) -> None:
        if self._closed and not self._holders:
            raise WriterClosed("the client is closed", next_step="connect again")

    def give_back(self, connection: Connection, *, broken: bool = False) -> None:
        """End the use of a connection; a broken one is lent no more, and closed when nobody uses it."""
        with self._lock:
            held = self._users if connection in self._users else self._broken
            if connection not in held:
                return  # the pool was closed meanwhile
            left = held.pop(connection) - 1
            if not broken and held is self._users:
                self._users[connection] = left
                return
            if left:
                self._broken[connection] = left
                return
        connection.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection for the length of a block."""
        lent = self.lend()
        broken = False
        try:
            yield lent
        except Unreachable:
            broken = True
            raise
        finally:
            self.give_back(lent, broken=broken)

    def hold(self, *, again: bool = False) -> None:
        """Keep the pool usable until :meth:`let_go`, also when it is closed meanwhile.

        Raises WriterClosed when it is closed and nobody holds it, unless ``again``: by one that held it before.
        """
        with self._lock:
            if not again:
                self._check_open()
            self._holders += 1

    def let_go(self) -> None:
        """End a hold; the last one closes what was closed meanwhile."""
        with self._lock:
            self._holders -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close all connections, streams on them break; while somebody holds the pool, when that one lets go."""
        with self._lock:
            self._closed = True
            if self._holders:
                return
            held = [*self._users, *self._broken]
            self._users.clear()
            self._broken.clear()
        for connection in held:
            connection.close()
