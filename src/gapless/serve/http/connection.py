"""One connection to the HTTP server, with bounds that hold before a request is whole."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gapless.serve.http.room import VISIT, Room, Visit
from gapless.serve.http.security_headers import HEADERS

SILENT_S: Final = 5.0  # for a peer that connects, or begins a request, and does not go on


class Connection(H11Protocol):
    """Closed at once when its peer does not go on with the head of a request that it has begun.

    ``visit`` is its place in the room, None: it takes one.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        state: Any,
        loop: asyncio.AbstractEventLoop,
        room: Room,
        visit: Visit | None = None,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._room = room
        self._visit = visit
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self._visit = self._visit or self._room.enter(transport)
        self.app_state[VISIT] = self._visit
        self._silence = self.loop.call_later(SILENT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._hush()
        if self._visit is not None:
            self._visit.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes. Each head has its time from its first byte on, however many bytes follow one by one."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._hush()
        elif self._silence is None and not self._answering():
            self._silence = self.loop.call_later(SILENT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the peer has taken what waited for it."""
        if self._visit is not None:
            self._visit.move(self.loop.time())
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say no to what is no HTTP; within another answer only by closing."""
        if not self._answering():
            self.transport.write(_bad_request(msg))
        self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _hush(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


class SocketConnection(WebSocketsSansIOProtocol):
    """A connection that is to become a WebSocket; it keeps its place in the room."""

    def data_received(self, data: bytes) -> None:
        """Take bytes. The first are the whole head of a request: one that is not understood then never will be."""
        super().data_received(data)
        if not self.handshake_initiated:
            self.transport.write(
                _bad_request("This is no request for a WebSocket, or its head is too large.")
            )
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._visit.leave()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on: the peer has taken what waited for it."""
        self._visit.move(self.loop.time())
        super().resume_writing()

    @property
    def _visit(self) -> Visit:
        visit: Visit = self.app_state[VISIT]
        return visit


def _bad_request(message: str) -> bytes:
    """Return an answer to what never becomes a request, with the headers of every answer."""
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    body = f'{{"error": "QuestionRefused", "message": "{message}"}}\n'
    return (
        f"HTTP/1.1 400 Bad Request\r\n{head}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")
