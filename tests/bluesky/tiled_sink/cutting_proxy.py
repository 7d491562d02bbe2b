"""A TCP proxy that loses answers: the server has done what was asked, and nobody is told."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class CuttingProxy:
    """Forwards to ``port``. The next ``cuts`` requests that begin with ``method`` are done and not answered."""

    def __init__(self, port: int, *, method: bytes, cuts: int) -> None:
        self._target = port
        self._method = method
        self.cuts_left = cuts
        self.lost = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def _begin(self, what: object, *arguments: object) -> None:
        thread = threading.Thread(target=what, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._begin(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """Pass requests on one after the other, as an HTTP client without pipelining sends them."""
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            cut = threading.Event()
            answers = threading.Thread(target=self._answer, args=(server, client, cut), daemon=True)
            answers.start()
            while data := _received(client):
                if data.startswith(self._method) and self._takes_a_cut():
                    cut.set()
                server.sendall(data)
            _shut(server)
            answers.join(10)

    def _answer(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        while data := _received(server):
            if cut.is_set():
                self.lost += 1
                break
            client.sendall(data)
        _shut(client)

    def _takes_a_cut(self) -> bool:
        with self._lock:
            self.cuts_left -= 1
            return self.cuts_left >= 0

    def __enter__(self) -> CuttingProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _shut(self._listener)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except OSError:
        return b""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
