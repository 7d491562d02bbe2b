"""A door whose every answer a test can choose, and callers that speak to it as any Flight client does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

from gapless.catalog.state_database import StateDatabase
from gapless.errors import NameTaken, NotFound
from gapless.serve.call import Call
from gapless.serve.door import Action, Door, Outgoing
from gapless.serve.keys import make_key
from gapless.serve.rights import Right
from gapless.serve.served import Served

SCHEMA = pa.schema([("a", pa.int64())])
BATCH_ROWS = 100_000  # 800 kB
DEADLINE_S = 60.0


class TrialDoor(Door):
    """Takes commands with the word ``trial``; what its streams saw is kept for the test."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.begun = threading.Event()
        self.closed = threading.Event()
        self.go_on = threading.Event()
        self.made = 0
        self.put_ended: list[tuple[int, bool]] = []
        self.stopped: list[bool] = []

    def actions(self) -> Mapping[str, Action]:
        """Return one action for each thing that a handler can do."""
        return {
            "trial.echo": self._echo,
            "trial.count": self._count,
            "trial.fail": self._fail,
            "trial.require": self._require,
            "trial.change": self._change,
            "trial.wait": self._wait,
        }

    def takes(self, command: Mapping[str, Any]) -> bool:
        """Take what has the word."""
        return command.get("gapless") == "trial"

    def flight_info(
        self, call: Call, command: Mapping[str, Any], descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Answer with the schema and no endpoint."""
        return flight.FlightInfo(SCHEMA, descriptor, [], 0, 0)

    def schema(self, call: Call, command: Mapping[str, Any]) -> pa.Schema:
        """Answer with the schema, or fail."""
        if command.get("fail"):
            raise NotFound("there is no such thing")
        return SCHEMA

    def get(self, call: Call, ticket: Mapping[str, Any]) -> Outgoing:
        """Stream ``batches`` batches, then fail if that is asked for; -1 streams for ever."""
        return Outgoing(SCHEMA, self._batches(int(ticket["batches"]), fail=bool(ticket.get("fail"))))

    def _batches(self, count: int, *, fail: bool) -> Iterator[tuple[pa.RecordBatch, bytes]]:
        self.begun.set()
        try:
            number = 0
            while number != count:
                self.made += 1
                yield pa.record_batch([pa.array([number] * BATCH_ROWS)], schema=SCHEMA), str(number).encode()
                number += 1
            if fail:
                raise NameTaken("in the middle", sequence="walking")
        finally:
            self.closed.set()

    def put(self, call: Call, command: Mapping[str, Any], reader: Any, writer: Any) -> None:
        """Count the rows until the client ends or goes."""
        rows = 0
        self.begun.set()
        for chunk in reader:
            rows += chunk.data.num_rows
        self.put_ended.append((rows, call.cancelled()))
        self.closed.set()

    def exchange(self, call: Call, command: Mapping[str, Any], reader: Any, writer: Any) -> None:
        """Send back each batch."""
        writer.begin(SCHEMA)
        for chunk in reader:
            writer.write_batch(chunk.data)

    def stop(self, deadline_s: float) -> None:
        """Note whether the stream had ended before."""
        self.stopped.append(self.closed.is_set())

    def _echo(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Send the body back."""
        return [body, call.peer.encode(), str(call.key_id).encode()]

    def _count(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Send numbers one by one, then fail if that is asked for."""
        for number in range(int(body)):
            yield str(number).encode()
        raise NameTaken("after the last", sequence="walking")

    def _fail(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Raise what the body names."""
        raise FAILURES[body.decode()]()

    def _require(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Ask for a right, in a group if one is named; ``reach`` asks for an existing sequence's."""
        words = json.loads(body)
        right = Right.named(words["right"])
        if words.get("reach"):
            call.reach(right, "walking", words["group"])
        elif "group" in words:
            call.require(right, words["group"])
        else:
            call.require(right)
        return [b"yes"]

    def _change(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Do something that is kept in the audit, or fail in it."""
        with call.audited("delete", "discard walking"):
            if body:
                raise NotFound("there is no such sequence")
        return [b"done"]

    def _wait(self, call: Call, body: bytes) -> Iterable[bytes]:
        """Answer when the test lets it."""
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)
        return [b"done"]


def _boom() -> Exception:
    return ZeroDivisionError("secret detail")


FAILURES: dict[str, Any] = {
    "unexpected": _boom,
    "exit": SystemExit,
    "memory": lambda: MemoryError("12 TB"),
    "disk": lambda: OSError(28, "No space left on device"),
    "arrow": lambda: pa.ArrowInvalid("a bad key: 'x-'"),
    "arrow io": lambda: pa.ArrowException("bytes that are no message"),
    "typed": lambda: NameTaken("the name is taken", sequence="walking", found="it", expected="another"),
    "large": lambda: NameTaken(
        "ü" * 30_000, sequence="中" * 5_000, found="\ud800 é" * 9_000, expected="%" * 9_000
    ),
    "flight": lambda: flight.FlightUnauthorizedError("said by the door"),
    "nothing": NotImplementedError,
}


def caller(url: str, token: str | None = None, *, bearer: bool = False, **words: Any) -> Caller:
    """Return a client of a server."""
    return Caller(flight.connect(url, **words), token, bearer=bearer)


class Caller:
    """A Flight client with a key, or without."""

    def __init__(self, client: flight.FlightClient, token: str | None, *, bearer: bool) -> None:
        self.client = client
        header = (b"authorization", f"Bearer {token}".encode()) if bearer else None
        if token is not None and header is None:
            header = (b"mosaico-api-key-token", token.encode())
        self.options = flight.FlightCallOptions(
            headers=[] if header is None else [header], timeout=DEADLINE_S
        )

    def action(self, name: str, body: bytes | Mapping[str, Any] = b"") -> list[bytes]:
        """Return the bodies that an action answers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return [
            result.body.to_pybytes()
            for result in self.client.do_action(flight.Action(name, data), options=self.options)
        ]

    def get(self, **words: Any) -> flight.FlightStreamReader:
        """Open a stream."""
        ticket = flight.Ticket(json.dumps({"gapless": "trial", **words}).encode())
        return self.client.do_get(ticket, options=self.options)

    def put(self) -> flight.FlightStreamWriter:
        """Begin an upload."""
        return self.client.do_put(descriptor(), SCHEMA, options=self.options)[0]

    def exchanged(self, *batches: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Send batches in one exchange; yield what comes back."""
        writer, reader = self.client.do_exchange(descriptor(), options=self.options)
        with writer:
            writer.begin(SCHEMA)
            for one in batches:
                writer.write_batch(one)
            writer.done_writing()
            for chunk in reader:
                yield chunk.data


def descriptor(**words: Any) -> flight.FlightDescriptor:
    """Return a command of the trial door."""
    return flight.FlightDescriptor.for_command(json.dumps({"gapless": "trial", **words}).encode())


def batch(rows: int = 10) -> pa.RecordBatch:
    """Return a batch of the trial schema."""
    return pa.record_batch([pa.array(range(rows))], schema=SCHEMA)


def new_key(root: Path, right: Right, **words: Any) -> str:
    """Make a key of a store; return its text."""
    with StateDatabase(root) as database:
        return make_key(database, right, **words)[1]
