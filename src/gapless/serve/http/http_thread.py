"""The HTTP server: an event loop on a thread of its own, with bounds on what strangers can take of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Final

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from starlette.types import ASGIApp

from gapless.errors import ServerClosing, StateError
from gapless.serve.address import Address
from gapless.serve.http.app import make_app
from gapless.serve.http.connection import Connection, SocketConnection
from gapless.serve.http.handshake import Handshake
from gapless.serve.http.room import Room, Visit
from gapless.serve.http.site import Site
from gapless.serve.operations.http_server import Page

_LOG = logging.getLogger("gapless.serve")
_THREADS: Final = 32  # requests that work at one time
_KEEP_S: Final = 20  # a connection between two requests
_HEAD_BYTES: Final = 64 << 10
_BACKLOG: Final = 128
_MESSAGE_BYTES: Final = 1 << 20  # of a WebSocket, from a client
_GRACE_S: Final = 2
_END_S: Final = 10.0
_LOOK_S: Final = 0.5


class HttpThread:
    """Answers what the application of ``site`` answers, on a thread of its own, from :meth:`start` on.

    ``health`` are pages for programs that watch, by path, and ``admit`` lets in who asks for them.
    Raises StateError for a port that is taken.
    """

    def __init__(
        self,
        address: Address,
        site: Site,
        health: Mapping[str, Page],
        *,
        admit: Callable[[str | None], object],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._site = site
        app = make_app(site, health, admit)
        self._socket = _listening(address)
        scheme, port = "http" if tls is None else "https", self._socket.getsockname()[1]
        self.url = f"{scheme}://{address.shown_host}:{port}"  # where it listens
        self._loop_server = _LoopServer(_config(app), self._socket, tls, site)
        self._thread = threading.Thread(target=self._run, name="gapless http", daemon=True)
        self._failed: BaseException | None = None

    def start(self) -> None:
        """Begin to answer; return when it does."""
        self._thread.start()
        self._loop_server.answering.wait()
        if self._failed is not None:
            raise self._failed

    def end_streams(self) -> None:
        """End all streams that go on for ever: the server is going down."""
        self._site.running.end_endless(ServerClosing("the server is going down"))

    def stop(self) -> None:
        """End; the port is free when this returns. What still works then is left to end by itself."""
        self._loop_server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(_END_S)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._loop_server.run()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: told to who starts it, and logged
            self._failed = error
            _LOG.error("the HTTP server ended", exc_info=error)
        finally:
            self._loop_server.answering.set()


class _LoopServer(uvicorn.Server):
    """uvicorn, with a socket that listens already and a deadline for peers that begin and do not go on."""

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, tls: ssl.SSLContext | None, site: Site
    ) -> None:
        super().__init__(config)
        self.answering = threading.Event()
        self._listening = listening
        self._tls = tls
        self._site = site
        self._looked_s = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._room: Room | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer. ``sockets`` is not used: there is one from the beginning."""
        del sockets
        current_default_thread_limiter().total_tokens = _THREADS
        loop = asyncio.get_running_loop()
        self._room = room = Room(loop.time, self._count_closed)

        def begin(visit: Visit | None = None) -> Connection:
            return Connection(self.config, self.server_state, loop, room, visit)

        def encrypted() -> Handshake:
            assert self._tls is not None
            return Handshake(self._tls, room, begin)

        server = await loop.create_server(begin if self._tls is None else encrypted, sock=self._listening)
        self.servers = [server]
        self.started = True
        self.answering.set()

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second; end what callers began whose keys count no longer, and what stalls."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(
                    self._site.running.cut_unless(self._site.resume, self._site.sessions.is_over)
                )
            if self._room is not None:
                self._room.end_stalled()
        return await super().on_tick(counter)

    def _count_closed(self) -> None:
        self._site.served.metrics.add("gapless_http_requests_total", page="", status="closed")


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        interface="asgi3",
        lifespan="off",
        ws=SocketConnection,
        ws_max_size=_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        log_level="critical",  # the gate logs what matters
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )


def _listening(address: Address) -> socket.socket:
    """Return a socket that listens."""
    address.check_free("--http-port")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Named, the protocol lets asyncio send small pieces at once; else each waits 40 ms for the peer to say it came.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise StateError(
            "it is not possible to listen there",
            found=f"{address.shown_host}:{address.port}: {error.strerror}",
            field="--http-port",
            next_step="take another port, 0 for a free one, or --no-http",
        ) from error
    return listening
