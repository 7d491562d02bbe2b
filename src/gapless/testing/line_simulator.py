"""A device that speaks in lines, behind a TCP port or a pseudo-terminal, with a log and faults on request.

What it says comes from a model: a function of the line it heard. Everything it said is in ``served``.
"""

from __future__ import annotations

import os
import random
import selectors
import socket
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

Model = Callable[[str], str | None]
_WAIT_S = 30.0
_TURN_S = 0.2
_GARBAGE_BYTES = 24


@dataclass(frozen=True)
class Exchange:
    """One line that was said, and the one that asked for it (None: said by itself)."""

    time_ns: int  # the monotonic clock of this machine
    heard: str | None
    said: str


@dataclass
class LineFaults:
    """What is wrong with the device now; each may be changed at any time.

    ``delay_s``: replies come so late. ``silent``: it hears and says nothing. ``garbage``: it says random
    bytes. ``half``: it stops in the middle of a line and hangs up.
    """

    delay_s: float = 0.0
    silent: bool = False
    garbage: bool = False
    half: bool = False


class LineSimulator:
    """Answers each line with what ``model`` returns for it (None: nothing).

    On a TCP port of the system's choice, or, with ``link``, on a pseudo-terminal that this path leads to.
    ``talk``: what it says by itself as line 0, 1, …, ``talk_hz`` times a second. A context manager; methods
    may be called from any thread. After :meth:`stop`, :meth:`start` listens on the same port or path.
    """

    def __init__(
        self,
        model: Model,
        *,
        terminator: str = "\n",
        reply_terminator: str | None = None,
        link: Path | None = None,
        talk: Callable[[int], str] | None = None,
        talk_hz: float = 10.0,
    ) -> None:
        self.model = model
        self.end = terminator.encode("ascii")
        self.reply_end = self.end if reply_terminator is None else reply_terminator.encode("ascii")
        self.link = link
        self.host, self.port = "127.0.0.1", 0
        self.talk, self.talk_period_s = talk, 1.0 / talk_hz
        self.faults = LineFaults()
        self.connections = 0
        self.served: list[Exchange] = []
        self._said = 0
        self._noise = random.Random(1)
        self._buffers: dict[int, bytes] = {}
        self._peers: dict[int, socket.socket] = {}
        self._ended = threading.Event()
        self._wake: tuple[int, int] = (-1, -1)
        self._thread: threading.Thread | None = None

    @property
    def path(self) -> str:
        """The serial port to open."""
        assert self.link is not None, "the simulator is behind a TCP port"
        return str(self.link)

    def replies(self, heard: str) -> list[str]:
        """Return what was said to a line, in order."""
        return [exchange.said for exchange in list(self.served) if exchange.heard == heard]

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen."""
        self._ended.clear()
        self._wake = os.pipe()
        selector = selectors.DefaultSelector()
        selector.register(self._wake[0], selectors.EVENT_READ)
        run = self._serve_terminal(selector) if self.link is not None else self._serve_tcp(selector)
        self._thread = threading.Thread(target=run, name="gapless-line-simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Hang up and listen no more, as a device that is switched off or unplugged."""
        if self._thread is None:
            return
        self._ended.set()
        os.write(self._wake[1], b"x")
        self._thread.join(_WAIT_S)
        self._thread = None
        for fd in self._wake:
            os.close(fd)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- a pseudo-terminal ---------------------------------------------------------------------

    def _serve_terminal(self, selector: selectors.BaseSelector) -> Callable[[], None]:
        assert self.link is not None
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(os.ttyname(theirs))
        selector.register(ours, selectors.EVENT_READ)
        self._buffers[ours] = b""

        def run() -> None:
            self._loop(selector, lambda fd: self._hear(fd, os.read(fd, 4096)))
            selector.close()
            self._buffers.clear()
            for fd in (ours, theirs):
                os.close(fd)

        return run

    # -- TCP -----------------------------------------------------------------------------------

    def _serve_tcp(self, selector: selectors.BaseSelector) -> Callable[[], None]:
        listener = socket.create_server((self.host, self.port))
        self.port = listener.getsockname()[1]
        selector.register(listener, selectors.EVENT_READ)

        def ready(fd: int) -> None:
            if fd == listener.fileno():
                peer, _ = listener.accept()
                self.connections += 1
                self._peers[peer.fileno()] = peer
                self._buffers[peer.fileno()] = b""
                selector.register(peer, selectors.EVENT_READ)
                return
            data = _received(self._peers[fd])
            if data:
                self._hear(fd, data)
            if not data or fd not in self._buffers:
                peer = self._peers.pop(fd)
                self._buffers.pop(fd, None)
                selector.unregister(peer)
                peer.close()

        def run() -> None:
            self._loop(selector, ready)
            selector.close()
            listener.close()
            for peer in self._peers.values():
                peer.close()
            self._peers.clear()
            self._buffers.clear()

        return run

    # -- lines ---------------------------------------------------------------------------------

    def _loop(self, selector: selectors.BaseSelector, ready: Callable[[int], None]) -> None:
        due_s = time.monotonic()
        while not self._ended.is_set():
            wait_s = _TURN_S if self.talk is None else max(0.0, min(_TURN_S, due_s - time.monotonic()))
            for key, _ in selector.select(wait_s):
                if key.fd != self._wake[0]:
                    ready(key.fd)
            if self.talk is not None and time.monotonic() >= due_s:
                due_s += self.talk_period_s
                self._talk(self.talk)

    def _talk(self, talk: Callable[[int], str]) -> None:
        said = talk(self._said)
        self._said += 1
        for fd in list(self._buffers):
            self._say(fd, None, said)

    def _hear(self, fd: int, data: bytes) -> None:
        *lines, self._buffers[fd] = (self._buffers[fd] + data).split(self.end)
        for line in lines:
            if self.faults.silent:
                continue
            heard = line.decode("ascii", "backslashreplace")
            said = self.model(heard)
            if said is not None and fd in self._buffers:
                self._ended.wait(self.faults.delay_s)
                self._say(fd, heard, said)

    def _say(self, fd: int, heard: str | None, said: str) -> None:
        faults = self.faults
        if faults.silent:
            return
        data = said.encode("ascii") + self.reply_end
        if faults.garbage:
            data = self._noise.randbytes(_GARBAGE_BYTES) + self.reply_end
        if faults.half:
            data = data[: len(data) // 2]
        else:
            self.served.append(Exchange(time.monotonic_ns(), heard, said))
        try:
            os.write(fd, data)
        except OSError as error:
            self.served.append(Exchange(time.monotonic_ns(), heard, f"not sent: {error}"))
        if faults.half and fd in self._peers:
            self._buffers.pop(fd, None)
            self._peers[fd].shutdown(socket.SHUT_RDWR)


def _received(peer: socket.socket) -> bytes:
    """Return what came, b"" when the peer is gone."""
    try:
        return peer.recv(4096)
    except OSError:
        return b""


__all__ = ["Exchange", "LineFaults", "LineSimulator", "Model"]
