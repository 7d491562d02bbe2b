"""One request to the Flight door: who asks, what they may do, and whether they are still there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gapless.serve.caller import Caller

if TYPE_CHECKING:
    from pyarrow import flight

    from gapless.serve.audit import Audit
    from gapless.serve.rights import Access


class Call(Caller):
    """One request. Every method may be used from any thread, also after the request has ended.

    ``cut(peer)`` closes the connection of a peer.
    """

    def __init__(
        self, context: flight.ServerCallContext, access: Access, audit: Audit, cut: Callable[[str], object]
    ) -> None:
        super().__init__(access, audit, unquote(context.peer()))  # such as ipv4:127.0.0.1:53422
        self._cut = cut
        self._context: flight.ServerCallContext | None = context
        self._lock = threading.Lock()

    def cancelled(self) -> bool:
        """Tell whether the client has gone, or the request has ended."""
        with self._lock:  # Arrow's context is a bare pointer: it is never asked once the request is over
            return self._context is None or bool(self._context.is_cancelled())

    def end(self) -> None:
        """Note that the request is over; the server says so."""
        with self._lock:
            self._context = None

    def cut(self) -> None:
        """Close the connection that the request came by: whoever waits for its client in a stream comes back.

        Whatever else goes on by that connection ends, too. Raises what hinders the system from looking for it.
        """
        self._cut(self.peer)
