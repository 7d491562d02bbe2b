"""A real TCP server between a client and a hub that does to each connection what it is told."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

LARGE = 1_000_000_000


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes


class HubProxy:
    """Passes requests to ``target`` (host, port), but plays one of the ``faults`` for each connection first.

    The names of ``_ANSWERS`` and of ``answers``: an answer of its own, the hub sees nothing. slow: none before
    :meth:`release`. drip: a byte now and then without end. die: the hub's answer ends in the middle; swallow: it
    is never passed on. hold: like swallow, but the connection stays open until :meth:`release`; late: passed on
    then.
    """

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self.target = target
        self.faults: list[str] = []
        self.answers: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.held = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._port = 0
        self.up()

    @classmethod
    def of(cls, url: str) -> HubProxy:
        """Return one in front of a hub on this machine."""
        return cls(("127.0.0.1", int(url.rpartition(":")[2])))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def release(self) -> None:
        """Let go of the connections that are slow or held."""
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.down()

    def handle(self, sock: socket.socket) -> None:
        """Play what is next for a connection."""
        raw, seen = _read_request(sock)
        with self._lock:
            self.seen.append(seen)
            fault = self.faults.pop(0) if self.faults else "pass"
        if fault in self.answers:
            sock.sendall(self.answers[fault])
        elif fault in _ANSWERS:
            sock.sendall(_ANSWERS[fault])
        else:
            getattr(self, f"_{fault}")(sock, raw)

    def _pass(self, sock: socket.socket, raw: bytes) -> None:
        sock.sendall(self._forward(raw))

    def _die(self, sock: socket.socket, raw: bytes) -> None:
        answer = self._forward(raw)
        sock.sendall(answer[: len(answer) - 5])

    def _swallow(self, sock: socket.socket, raw: bytes) -> None:
        self._forward(raw)

    def _hold(self, sock: socket.socket, raw: bytes) -> None:
        self._forward(raw)
        self.held.set()
        self._released.wait(60)

    def _late(self, sock: socket.socket, raw: bytes) -> None:
        answer = self._forward(raw)
        self.held.set()
        self._released.wait(60)
        sock.sendall(answer)

    def _slow(self, sock: socket.socket, raw: bytes) -> None:
        self.held.set()
        self._released.wait(60)

    def _drip(self, sock: socket.socket, raw: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not self._released.wait(0.02):
            sock.sendall(b" ")

    def _forward(self, raw: bytes) -> bytes:
        assert self.target is not None
        with socket.create_connection(self.target, 30) as hub:
            hub.sendall(raw)
            pieces = []
            while piece := hub.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


_ANSWERS = {
    "500": b'HTTP/1.1 500 Oops\r\nContent-Length: 17\r\n\r\n{"error": "disk"}',
    "404": b'HTTP/1.1 404 Gone\r\nContent-Length: 20\r\n\r\n{"error": "no task"}',
    "401": b'HTTP/1.1 401 No\r\nContent-Length: 18\r\n\r\n{"error": "token"}',
    "429": b"HTTP/1.1 429 Later\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"\x00\xff\x13 nothing that anybody knows\r\n\r\n",
    "page": b"HTTP/1.1 200 OK\r\n\r\n<html>please log in</html>",
    "list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "nameless": b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\n{}",
    "contrary": b'HTTP/1.1 201 Made\r\n\r\n{"id": "a", "status": "rejected"}',
    "huge": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 << 20),
    "long": f"HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n{{}}".encode(),
}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], proxy: HubProxy) -> None:
        self.proxy = proxy
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what many tests want."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Hand the connection over."""
        self.server.proxy.handle(self.request)


def _read_request(sock: socket.socket) -> tuple[bytes, Seen]:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionError("no request")
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    while len(body) < int(headers.get("content-length", "0")):
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body, Seen(line, headers, body)
