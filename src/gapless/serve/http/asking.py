"""One request over HTTP: who asks, as far as the gate has found out, and whether they are still there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from fastapi import Depends
from starlette.requests import HTTPConnection

from gapless.serve.caller import Caller

if TYPE_CHECKING:
    from gapless.serve.http.sessions import Session
    from gapless.serve.http.site import Site
    from gapless.serve.rights import Access
    from gapless.serve.served import Served

CALL: Final = "gapless.call"  # where a request's scope holds it


class HttpCall(Caller):
    """One request that was let in. Every method may be used from any thread, also after the request has ended.

    ``session``: the one of the cookie it came with, None for a key in a header and for who needs none.
    """

    def __init__(self, site: Site, access: Access, peer: str, session: Session | None = None) -> None:
        super().__init__(access, site.served.audit, peer)
        self.site = site
        self.session = session
        self._over = threading.Event()

    @property
    def served(self) -> Served:
        """The store that is asked about."""
        return self.site.served

    @property
    def csrf(self) -> str:
        """The token that the caller's pages show with each change."""
        return self.site.sessions.open_csrf if self.session is None else self.session.csrf

    def cancelled(self) -> bool:
        """Tell whether the client has gone, or the request has ended."""
        return self._over.is_set()

    def end(self) -> None:
        """Note that the client has gone or the request is over; the gate says so."""
        self._over.set()


def call_of(connection: HTTPConnection) -> HttpCall:
    """Return the call of a request or WebSocket: the gate has let it in before any route is looked for."""
    call: HttpCall = connection.scope[CALL]
    return call


async def asking(connection: HTTPConnection) -> HttpCall:
    """Give a route its call. A plain function would wait for a thread: an emergency stop must not."""
    return call_of(connection)


Asking: TypeAlias = Annotated[HttpCall, Depends(asking)]
