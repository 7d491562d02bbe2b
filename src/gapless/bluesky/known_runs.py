"""Which runs and names a store has, asked without ever waiting long for a server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from gapless.bluesky.late_documents import find_run
from gapless.bluesky.store_place import remote
from gapless.errors import GaplessError, NameRefused, ServingFailed
from gapless.store.durability import Durability

if TYPE_CHECKING:
    from gapless.client.client import Client

Answer = TypeVar("Answer")
_ANSWER_S: Final = 5.0
_AWAY_S: Final = 10.0


class KnownRuns:
    """Asks the store for runs and names.

    A server that did not answer within five seconds is not asked again for ten: its answer is then that it knows
    nothing, and a run is recorded as a new one. ``tell`` takes what went wrong, the run's uid, and as ``retried``
    whether it harms nothing.
    """

    def __init__(self, client: Client, tell: Callable[..., None]) -> None:
        self._client = _hurried(client)
        self._is_ours = self._client is not client
        self._tell = tell
        self._away_until = 0.0

    def sequence_of(self, uid: str) -> str | None:
        """Return the name of the sequence that has the run already, None as far as nobody knows of one."""

        def ask() -> str | None:
            try:
                return find_run(self._client, uid)
            except NameRefused:  # which no sequence can have
                return None

        return self._asked(ask, uid, otherwise=None, unsure=None)

    def is_free(self, name: str, uid: str) -> bool:
        """Return whether the run may have the name; a server that does not answer decides when the run comes."""
        return self._asked(lambda: not self._client.sequence_exists(name), uid, otherwise=False, unsure=True)

    def close(self) -> None:
        """End the connection, where there is one."""
        if self._is_ours:
            self._client.close()

    def _asked(self, ask: Callable[[], Answer], uid: str, *, otherwise: Answer, unsure: Answer) -> Answer:
        if time.monotonic() < self._away_until:
            return unsure
        try:
            return ask()
        except ServingFailed as error:
            self._away_until = time.monotonic() + _AWAY_S
            self._tell(error, uid, retried=True)
            return unsure
        except (GaplessError, OSError) as error:
            self._tell(error, uid)
            return otherwise


def _hurried(client: Client) -> Client:
    """Return a client that asks the same store and is not patient with a server."""
    server = remote(client)
    if server is None:
        return client
    return type(server)(
        server._pool.endpoint,
        durability=Durability(deadline_s=_ANSWER_S),
        spool=None,
        max_connections=1,
        max_encoders=None,
    )
