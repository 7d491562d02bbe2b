"""A link that changes bytes on the way to the server, and a client that means well behind it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from random import Random
from types import TracebackType
from typing import Final, Self

import pyarrow as pa
from pyarrow import flight
from tests.serve.fuzz.target import Target

_CHUNK_BYTES: Final = 16 << 10
_LOOK_S: Final = 0.1
_CALL_S: Final = 2.0


class Noise:
    """Forwards TCP connections to a port of this machine; of what goes there about one byte in a chunk is wrong."""

    def __init__(self, port: int, dice: Random) -> None:
        self._target = port
        self._dice = dice
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_LOOK_S)
        self.url = f"grpc://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def _start(self, run: Callable[..., None], *words: object) -> None:
        thread = threading.Thread(target=run, args=words, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                near, _ = self._listener.accept()
                self._join(near)

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:  # nobody listens any more
            near.close()
            return
        self._start(self._forward, near, far, self._bent)
        self._start(self._forward, far, near, bytes)

    def _forward(self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        source.settimeout(_LOOK_S)
        with source, contextlib.suppress(OSError):
            while not self._ended:
                with contextlib.suppress(TimeoutError):
                    data = source.recv(_CHUNK_BYTES)
                    if not data:
                        break
                    sink.sendall(change(data))
            sink.shutdown(socket.SHUT_RDWR)

    def _bent(self, data: bytes) -> bytes:
        if (
            self._dice.random() < 0.5 or len(data) < 60
        ):  # greetings and acknowledgements of the transport pass
            return data
        place = self._dice.randrange(len(data))
        return data[:place] + self._dice.randbytes(1) + data[place + 1 :]


def talk(url: str, target: Target, token: str | None, dice: Random) -> str:
    """Send a valid request; whatever comes of it, the server is what matters. Return how it ended."""
    headers = [] if token is None else [(b"mosaico-api-key-token", token.encode())]
    options = flight.FlightCallOptions(headers=headers, timeout=_CALL_S)
    with flight.connect(url, generic_options=[("grpc.use_local_subchannel_pool", 1)]) as client:
        try:
            if dice.random() < 0.3:
                name, document = dice.choice(sorted(target.actions().items()))
                list(client.do_action(flight.Action(name, json.dumps(document).encode()), options))
            else:
                _upload(client, target, options, dice)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            return type(error).__name__
    return "answered"


def _upload(
    client: flight.FlightClient, target: Target, options: flight.FlightCallOptions, dice: Random
) -> None:
    command, schema, words, batch = dice.choice(target.uploads())
    descriptor = flight.FlightDescriptor.for_command(json.dumps(command))
    if command.get("gapless") == "lane":
        writer, reader = client.do_exchange(descriptor, options)
        writer.begin(schema)
    else:
        writer, reader = client.do_put(descriptor, schema, options)
    try:
        for _ in range(5):
            writer.write_with_metadata(batch, json.dumps(words).encode())
        writer.done_writing()
        if command.get("gapless") == "lane":
            for _ in reader:
                pass
    finally:
        writer.close()
