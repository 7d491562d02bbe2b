"""A bad network on one machine: a TCP link that cuts, holds, delays and throttles on command."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from queue import Queue
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 16 << 10
_WAITING_CHUNKS = 16  # a link has little room of its own: who sends more waits, as on a real one
_LOOK_S = 0.1


class Link:
    """Forwards TCP connections from ``port`` to a server at ``target``, as badly as it is told.

    ``with Link(("127.0.0.1", server_port)) as link:`` and let the client connect to ``link.port``.
    """

    def __init__(self, target: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.target = target
        self.delay_s = 0.0
        """How long each byte takes to the other side, each way."""
        self.bytes_per_s: float | None = None
        """How many bytes of each connection pass in a second, each way; None: all there are."""
        self.passed_bytes = 0
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._ended = False
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((host, 0))
        self._listener.settimeout(_LOOK_S)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept, "gapless-link")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        with self._lock:
            return len(self._pairs)

    def cut(self, *, refuse: bool = True) -> None:
        """Break every connection; with ``refuse`` new ones break at once too, until :meth:`mend`."""
        self._refusing = refuse
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _break(*pair)

    def hold(self) -> None:
        """Let nothing pass and tell nobody: the connections stay open, as when a cable is pulled."""
        self._flowing.clear()

    def mend(self) -> None:
        """Let everything pass again, new connections too."""
        self._refusing = False
        self._flowing.set()

    def close(self) -> None:
        """Break everything and end every thread."""
        self._ended = True
        self._listener.close()
        self.cut()
        self._flowing.set()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._join(near)

    def _join(self, near: socket.socket) -> None:
        """Connect a new connection through, or break it as the target or the link says."""
        far = None
        if not self._refusing:
            with contextlib.suppress(OSError):  # nobody listens there: the client sees a broken connection
                far = socket.create_connection(self.target, timeout=5)
        if far is None:
            _break(near)
            return
        near.settimeout(None)
        far.settimeout(None)
        with self._lock:
            self._pairs.append((near, far))
        for source, sink in ((near, far), (far, near)):
            self._start(self._direction(source, sink), "gapless-link")

    def _direction(self, source: socket.socket, sink: socket.socket) -> Callable[[], None]:
        chunks: Queue[tuple[float, bytes]] = Queue(_WAITING_CHUNKS)

        def write() -> None:
            while (item := chunks.get())[1]:
                self._wait(item[0], len(item[1]))
                with self._lock:
                    self.passed_bytes += len(item[1])
                try:
                    sink.sendall(item[1])
                except OSError:
                    break
            self._part(source, sink)
            while not chunks.empty():  # the reader may wait for room
                chunks.get()

        def run() -> None:
            self._start(write, "gapless-link")
            while True:
                try:
                    data = source.recv(_CHUNK_BYTES)
                except OSError:
                    data = b""
                chunks.put((time.monotonic() + self.delay_s, data))
                if not data:
                    return

        return run

    def _wait(self, due: float, size_bytes: int) -> None:
        """Return when these bytes may pass."""
        while not self._flowing.wait(_LOOK_S):
            pass
        left = due - time.monotonic()
        if left > 0:
            time.sleep(left)
        if self.bytes_per_s is not None:
            time.sleep(size_bytes / self.bytes_per_s)

    def _part(self, *pair: socket.socket) -> None:
        with self._lock:
            self._pairs = [known for known in self._pairs if pair[0] not in known]
        _break(*pair)


def _break(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # the other side was quicker
            end.shutdown(socket.SHUT_RDWR)
        end.close()
