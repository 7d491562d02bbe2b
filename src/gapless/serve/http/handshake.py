"""The beginning of a connection that is encrypted: it has its place in the room before it says anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from gapless.serve.http.room import Room, Visit

HANDSHAKE_S: Final = 5.0
_GOODBYE_S: Final = 1.0


class Handshake(asyncio.Protocol):
    """Agrees on TLS with a peer, then hands the connection over to the protocol that ``begin`` returns for it.

    A peer that does not come to an end in 5 s, or gives way to others before, is closed.
    """

    def __init__(self, tls: ssl.SSLContext, room: Room, begin: Callable[[Visit], asyncio.Protocol]) -> None:
        self._tls = tls
        self._room = room
        self._begin = begin
        self._early = bytearray()  # what came decrypted before it was handed over
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        transport.pause_reading()
        visit = self._room.enter(transport)
        if not transport.is_closing():
            self._task = asyncio.get_running_loop().create_task(self._agree(transport, visit))

    def data_received(self, data: bytes) -> None:
        """Keep what a quick peer says before the connection is handed over."""
        self._early += data

    async def _agree(self, wire: asyncio.Transport, visit: Visit) -> None:
        try:
            inside = await asyncio.get_running_loop().start_tls(
                wire, self, self._tls, server_side=True,
                ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=_GOODBYE_S,
            )  # fmt: skip
        except OSError:  # SSLError is one
            visit.end()
            return
        if inside is None or inside.is_closing():
            visit.end()
            return
        protocol = self._begin(visit)
        inside.set_protocol(protocol)
        protocol.connection_made(inside)
        if self._early:
            protocol.data_received(bytes(self._early))
