"""A connection to a server of the network door: calls with JSON bodies, streams of batches, typed errors."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import (
    GaplessError,
    KeyRefused,
    RightMissing,
    ServerFault,
    Unreachable,
    UsageError,
    WrongProcess,
)

SCHEMES = ("grpc", "grpc+tls")
CALL_S = 30.0
_OPTIONS: list[tuple[str, str | int]] = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, not one that equal addresses share
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
SILENCE_S = 25.0
_GONE = (flight.FlightUnavailableError, flight.FlightTimedOutError, flight.FlightCancelledError)
_LIVE: weakref.WeakSet[Connection] = weakref.WeakSet()
Kept = TypeVar("Kept", "Stream", "Upload", "Exchange")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and what it is to be told: address, API key, certificates to trust."""

    url: str
    key: str | None = field(default=None, repr=False)
    tls_roots: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, *, key: str | None = None, tls_roots: bytes | None = None) -> Endpoint:
        """Return the endpoint of ``grpc://host[:port]`` or ``grpc+tls://…``; UsageError for anything else."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError("a server's URL cannot be read", found=url, expected=_EXPECTED) from error
        if parts.scheme not in SCHEMES or not host or parts.path not in ("", "/") or parts.username:
            raise UsageError("a server's URL cannot be read", found=url, expected=_EXPECTED)
        if key is not None and not (key.isascii() and key.isprintable() and key):
            raise UsageError(
                "an API key is printable ASCII", next_step="copy it as `gapless keys make` shows it"
            )
        if tls_roots is not None and parts.scheme != "grpc+tls":
            raise UsageError("certificates are for TLS only", found=url, expected="grpc+tls://host:port")
        literal = f"[{host}]" if ":" in host else host
        return cls(f"{parts.scheme}://{literal}:{port or protocol.PORT}", key, tls_roots)


_EXPECTED = "grpc://host:6726 or grpc+tls://host:6726"


class Connection:
    """One connection, made at the first call and made again by the next call after a cut.

    A peer that is silent for ``silence_s`` while a call waits for it counts as gone, in an open connection
    too: nobody says so when a cable is cut. Safe to use from several threads. Every error is one of
    gapless.errors: the server's own as the server raised it, Unreachable where there was no answer.
    """

    def __init__(self, endpoint: Endpoint, *, call_s: float = CALL_S, silence_s: float = SILENCE_S) -> None:
        self.endpoint = endpoint
        self.call_s = call_s
        alive: list[tuple[str, str | int]] = [
            ("grpc.keepalive_time_ms", int(400 * silence_s)),
            ("grpc.keepalive_timeout_ms", int(600 * silence_s)),
            ("grpc.http2.ping_timeout_ms", int(600 * silence_s)),
        ]
        self._process = os.getpid()
        with self._named("connecting"):
            self._client = flight.FlightClient(
                endpoint.url, tls_root_certs=endpoint.tls_roots, generic_options=[*_OPTIONS, *alive]
            )
        self._streams: weakref.WeakSet[Exchange | Stream | Upload] = weakref.WeakSet()
        _LIVE.add(self)

    @property
    def url(self) -> str:
        """The server's address."""
        return self.endpoint.url

    # -- calls ---------------------------------------------------------------------------------

    def action(
        self, name: str, document: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return the one answer of an action, an empty object where the server sends none."""
        answer: dict[str, Any] = {}
        for result in self.actions(name, document, timeout_s=timeout_s):
            answer = result
        return answer

    def actions(
        self, name: str, document: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers of an action as they come."""
        with self._named(name):
            call = flight.Action(name, protocol.encode(document or {}))
            results = iter(self._client.do_action(call, self._options(timeout_s or self.call_s)))
        while True:
            with self._named(name):
                result = next(results, None)
            if result is None:
                return
            yield protocol.decode(result.body.to_pybytes())

    # -- streams -------------------------------------------------------------------------------

    def get(self, ticket: Mapping[str, Any]) -> Stream:
        """Open a stream of batches from the server."""
        with self._named(str(ticket.get(protocol.KIND))):
            reader = self._client.do_get(flight.Ticket(protocol.encode(ticket)), self._options(None))
        return self._keep(Stream(self, reader))

    def put(self, command: Mapping[str, Any], schema: pa.Schema) -> Upload:
        """Open a stream of batches to the server."""
        kind = str(command.get(protocol.KIND))
        with self._named(kind):
            descriptor = flight.FlightDescriptor.for_command(protocol.encode(command))
            writer, answers = self._client.do_put(descriptor, schema, self._options(None))
        return self._keep(Upload(self, kind, writer, answers))

    def exchange(self, command: Mapping[str, Any]) -> Exchange:
        """Open a stream of batches to the server, and of JSON words both ways."""
        kind = str(command.get(protocol.KIND))
        with self._named(kind):
            descriptor = flight.FlightDescriptor.for_command(protocol.encode(command))
            writer, reader = self._client.do_exchange(descriptor, self._options(None))
        return self._keep(Exchange(self, kind, writer, reader))

    def close(self) -> None:
        """End the connection; streams on it break. Twice is as good as once."""
        if self._process == os.getpid():
            with self._named("closing"):
                self._client.close()
        _LIVE.discard(self)

    # -- inside --------------------------------------------------------------------------------

    def _options(self, timeout_s: float | None) -> flight.FlightCallOptions:
        if self._process != os.getpid():
            raise WrongProcess(
                "a connection was inherited by a forked child", next_step="connect again in the child"
            )
        key = self.endpoint.key
        headers = [] if key is None else [(b"authorization", b"Bearer " + key.encode("ascii"))]
        return flight.FlightCallOptions(timeout=timeout_s, headers=headers)

    @contextmanager
    def _named(self, doing: str) -> Iterator[None]:
        """Raise what Flight raises inside as errors of this package."""
        try:
            yield
        except (pa.ArrowException, flight.FlightError, OSError) as error:
            raise typed_error(error, self.endpoint.url, doing) from error

    def _keep(self, stream: Kept) -> Kept:
        self._streams.add(stream)
        return stream

    def abandon_in_child(self) -> None:
        """In a forked child: keep gRPC's objects for ever, as their end would wait for threads that are not there."""
        for stream in list(self._streams):
            stream.abandon_in_child()
        _immortal(self._client)


class Stream:
    """Batches from the server, one at a time; iterate once, then it is closed."""

    def __init__(self, connection: Connection, reader: Any) -> None:
        self._connection = connection
        self._reader = reader
        self._ended = False

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        with self._connection._named("the schema of a stream"):
            return self._reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            while (chunk := self._next()) is not None:
                if chunk.data is not None:
                    yield chunk.data
        finally:
            self.close()

    def _next(self) -> Any:
        with self._connection._named("reading"):
            try:
                return self._reader.read_chunk()
            except StopIteration:
                self._ended = True
                return None

    def close(self) -> None:
        """Tell the server that no more is wanted. Twice is as good as once."""
        if not self._ended:
            self._ended = True
            self._reader.cancel()

    def abandon_in_child(self) -> None:
        """In a forked child: see :meth:`Connection.abandon_in_child`."""
        self._ended = True
        _immortal(self._reader)


class Upload:
    """Batches to the server; what they became is known when :meth:`finish` returns."""

    def __init__(self, connection: Connection, kind: str, writer: Any, answers: Any) -> None:
        self._connection = connection
        self._kind = kind
        self._writer = writer
        self._answers = answers

    def write(self, batch: pa.RecordBatch) -> None:
        """Send a batch."""
        with self._connection._named(self._kind):
            self._writer.write_batch(batch)

    def receive(self) -> dict[str, Any] | None:
        """Wait for the server's next words; None when it says no more, and :meth:`finish` tells why."""
        with self._connection._named(self._kind):
            answer = self._answers.read()
        return None if answer is None else protocol.decode(answer.to_pybytes())

    def finish(self, heard: Callable[[], None] = lambda: None) -> None:
        """End the stream and wait for the server's last words; ``heard()`` is called for each of them."""
        with self._connection._named(self._kind):
            self._writer.done_writing()
        while self.receive() is not None:
            heard()
        with self._connection._named(self._kind):
            self._writer.close()

    def abandon_in_child(self) -> None:
        """In a forked child: see :meth:`Connection.abandon_in_child`."""
        _immortal(self._writer)
        _immortal(self._answers)


class Exchange:
    """Batches and JSON words to the server, JSON words back. One thread may send while another receives."""

    def __init__(self, connection: Connection, kind: str, writer: Any, reader: Any) -> None:
        self._connection = connection
        self._kind = kind
        self._writer = writer
        self._reader = reader

    def begin(self, schema: pa.Schema) -> None:
        """Say what every batch will look like; comes before the first batch or word."""
        with self._connection._named(self._kind):
            self._writer.begin(schema)

    def send(self, words: Mapping[str, Any], batch: pa.RecordBatch | None = None) -> None:
        """Send words, with a batch or alone. Waits while the server takes nothing."""
        body = protocol.encode(words)
        with self._connection._named(self._kind):
            if batch is None:
                self._writer.write_metadata(body)
            else:
                self._writer.write_with_metadata(batch, body)

    def receive(self) -> dict[str, Any] | None:
        """Return the server's next words, None when it has ended the exchange in order."""
        with self._connection._named(self._kind):
            try:
                chunk = self._reader.read_chunk()
            except StopIteration:
                return None
        return protocol.decode(chunk.app_metadata.to_pybytes() if chunk.app_metadata is not None else b"")

    def done_sending(self) -> None:
        """Tell the server that nothing more comes."""
        with self._connection._named(self._kind):
            self._writer.done_writing()

    def cancel(self) -> None:
        """Break the exchange: whoever waits in it gets Unreachable. From any thread."""
        self._reader.cancel()

    def close(self) -> GaplessError | None:
        """End the exchange and return what it ended with, None if that was in order."""
        try:
            with self._connection._named(self._kind):
                self._writer.close()
        except GaplessError as error:
            return error
        return None

    def abandon_in_child(self) -> None:
        """In a forked child: see :meth:`Connection.abandon_in_child`."""
        _immortal(self._writer)
        _immortal(self._reader)


def typed_error(error: BaseException, url: str, doing: str) -> GaplessError:
    """Return what an error of Flight means: the server's own error if it sent one."""
    sent = getattr(error, "extra_info", None)
    found = protocol.decode_error(bytes(sent)) if sent else None
    if found is not None:
        return found
    text = str(error).partition(" gRPC client debug context:")[0]
    if isinstance(error, flight.FlightUnauthenticatedError):
        return KeyRefused("the server refused the API key", found=text)
    if isinstance(error, flight.FlightUnauthorizedError):
        return RightMissing("the key does not allow this", found=text)
    if isinstance(error, _GONE) or not isinstance(error, pa.ArrowException | flight.FlightError):
        reason = text.rpartition("last error: ")[2].rpartition(", with message: ")[2]
        return Unreachable("the server does not answer", found=f"{url}: {reason.strip()} ({doing})")
    if isinstance(error, pa.ArrowInvalid | pa.ArrowKeyError | pa.ArrowNotImplementedError):
        return UsageError("the server refused the request", found=f"{doing} at {url}: {text}")
    return ServerFault("the server met an error", found=f"{doing} at {url}: {text}")


def _immortal(held: object) -> None:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


def _after_fork_in_child() -> None:
    for connection in list(_LIVE):
        connection.abandon_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
