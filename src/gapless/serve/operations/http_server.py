"""A few pages over HTTP, for programs that watch the server."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from gapless.errors import GaplessError, KeyRefused, StateError
from gapless.serve.address import Address
from gapless.serve.gate import token_of
from gapless.serve.metrics import Metrics
from gapless.serve.operations.log_lines import tell

_LOG = logging.getLogger("gapless.serve")
_SILENT_S: Final = 5.0  # for a peer that says or takes nothing
_CONNECTIONS: Final = 32
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a page says."""

    status: int
    content_type: str
    body: bytes

    @classmethod
    def of(cls, status: int, document: Mapping[str, Any]) -> Reply:
        """Return a JSON object as a reply."""
        return cls(status, JSON, json.dumps(document).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Page:
    """One path. ``for_all``: no key is asked for, wherever the peer is."""

    make: Callable[[], Reply]
    for_all: bool = False


class HttpServer:
    """Answers GET and HEAD of some paths, each connection once, on a thread of its own, up to 32 at one time.

    ``admit`` gets the key that a request shows, None for none, and raises what refuses it.
    """

    def __init__(
        self,
        address: Address,
        pages: Mapping[str, Page],
        *,
        admit: Callable[[str | None], object],
        metrics: Metrics,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        address.check_free("--http-port")
        self._scheme = "http" if tls is None else "https"
        try:
            self._server = _Server((address.host, address.port), pages, admit, metrics, tls)
        except OSError as error:
            raise StateError(
                "it is not possible to listen there",
                found=f"{address.shown_host}:{address.port}: {error.strerror}",
                field="--http-port",
                next_step="take another port, 0 for a free one, or --no-http",
            ) from error
        self._shown_host = address.shown_host
        self._thread = threading.Thread(target=self._server.serve_forever, name="gapless http", daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://{self._shown_host}:{self._server.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End; the port is free when this returns."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        pages: Mapping[str, Page],
        admit: Callable[[str | None], object],
        metrics: Metrics,
        tls: ssl.SSLContext | None,
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.pages = pages
        self.admit = admit
        self.metrics = metrics
        self._room = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, _Handler)
        if tls is not None:  # a handshake is the handler's, so that no peer keeps others waiting
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread; one too many is closed."""
        if not self._room.acquire(blocking=False):
            self.metrics.add("gapless_http_requests_total", page="", status="closed")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection and make room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a connection that broke: the peer left, or spoke no HTTP."""
        del request
        _LOG.info("the HTTP connection of %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENT_S
    server_version = "gapless"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a page."""
        path = urlsplit(self.path).path
        page = self.server.pages.get(path)
        reply = self._reply(page)
        self.server.metrics.add(
            "gapless_http_requests_total", page=path if page else "", status=str(reply.status)
        )
        self._send(reply)

    def do_HEAD(self) -> None:
        """Answer as GET does, without the page itself."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Log a request for who looks closely; its line holds no header."""
        _LOG.debug("%s " + format, self.address_string(), *args)

    def _reply(self, page: Page | None) -> Reply:
        if page is None:
            return Reply.of(404, {"error": "NotFound", "pages": sorted(self.server.pages)})
        try:
            if not page.for_all:
                shown = {name: self.headers.get_all(name) or [] for name in map(str.lower, self.headers)}
                self.server.admit(token_of(shown))
            return page.make()
        except GaplessError as error:
            return self._refusal(error)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: told and logged, never shown
            _LOG.error("an HTTP request failed", exc_info=error)
            return Reply.of(500, {"error": "ServerFault"})

    def _refusal(self, error: GaplessError) -> Reply:
        status = 401 if isinstance(error, KeyRefused) else 503
        tell(
            _LOG,
            logging.INFO,
            "refused",
            f"an HTTP request was refused: {error.message}",
            code=error.code,
            peer=self.address_string(),
        )
        return Reply.of(status, {"error": type(error).__name__, "message": error.message})

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        if reply.status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
