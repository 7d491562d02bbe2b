"""Servers to write to, in this process or in one that can be killed, and what a client must leave behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.client.remote.spool_warning import SpoolWarning
from gapless.errors import ServingFailed
from gapless.serve.native.reading import NativeReading
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server

NUMBERS = pa.schema([pa.field("x", pa.float64()), pa.field("n", pa.int64())])
TEXTS = pa.schema([pa.field("s", pa.string())])
PATIENCE_S = 60.0

_CHILD = """
import sys, threading
from pathlib import Path
from gapless.serve.native.reading import NativeReading
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server

server = Server(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), doors=[NativeWriting, NativeReading])
server.start()
print(server.port, flush=True)
sys.stdin.read()
server.stop(5)
"""


def server(root: Path) -> Server:
    """Return a server of both native doors in this process, to be entered."""
    return Server(root, "127.0.0.1", 0, doors=[NativeWriting, NativeReading])


class ServerProcess:
    """A server in a process of its own that can be killed and started again on the same port."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = _free_port()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and return when it serves."""
        words = [sys.executable, "-c", _CHILD, str(self.root), str(self.port)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == str(self.port)

    def kill(self) -> None:
        """SIGKILL it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE_S)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()


@contextmanager
def spooling(url: str, spool: Path, *, match: str = "", **knobs: Any) -> Iterator[gapless.Client]:
    """Lend a client that is told at its end that something waits in the spool."""
    with pytest.warns(SpoolWarning, match=match), gapless.connect(url, spool=spool, **knobs) as client:
        yield client


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Return when the condition holds; fail when that takes too long for any machine."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.02)


def stored(root: Path, name: str, topic: str, *, layers: list[str] | None = None) -> pa.Table:
    """Return the rows of a topic as they are in the server's folder."""
    with gapless.connect(root) as client:
        reader = client.sequence_handler(name, layers=layers).topic(topic)
        batches = list(reader.scan())
        return pa.Table.from_batches(batches) if batches else reader.schema.empty_table()


def assert_counted(table: pa.Table, rows: int, column: str = "n") -> None:
    """Assert that the column counts 0, 1, 2… without a hole or a repetition."""
    np.testing.assert_array_equal(table[column].to_numpy(), np.arange(rows))


_BEFORE: set[int | None] = set()


@pytest.fixture(autouse=True)
def threads_before() -> None:
    """Note which threads there are already: tests of other parts leave some that a hung disk holds."""
    _BEFORE.clear()
    _BEFORE.update(thread.ident for thread in threading.enumerate())


def uplink_threads() -> list[str]:
    """Return the names of threads that a remote recording or client has begun in this test and still runs."""
    ours = ("sender-", "accepted-", "notes-", "presence-", "delivery", "writer-")
    begins = tuple(f"gapless-{name}" for name in ours)
    known = [thread for thread in threading.enumerate() if thread.ident not in _BEFORE]
    return [thread.name for thread in known if thread.name.startswith(begins)]


def may_answer(error: Exception) -> bool:
    """Tell whether an error means that a server is away."""
    return isinstance(error, ServingFailed)
