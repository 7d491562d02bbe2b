"""Sends what a server must refuse, and keeps what it should not have answered."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import pyarrow as pa
from pyarrow import flight
from tests.serve.fuzz import hostile
from tests.serve.fuzz.target import Target

KNOWN: Final = (
    pa.ArrowInvalid,
    flight.FlightServerError,
    flight.FlightUnauthenticatedError,
    flight.FlightUnauthorizedError,
    flight.FlightUnavailableError,
)
_PATIENCE_S: Final = 60.0
_TAIL_S: Final = 1.0
_MOST_READ: Final = 3


class Attacker:
    """One client that means no good. ``findings`` are errors of classes that no client knows, ``last`` what it sent."""

    def __init__(self, url: str, target: Target, tokens: Sequence[str | None], dice: Random) -> None:
        self.answers: Counter[str] = Counter()
        self.findings: list[str] = []
        self.last: deque[str] = deque(maxlen=10)
        self._client = flight.connect(url, generic_options=[("grpc.use_local_subchannel_pool", 1)])
        self._target = target
        self._tokens = tokens
        self._dice = dice

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def attack(self) -> None:
        """Send one request."""
        acts = (
            self._action,
            self._action,
            self._action,
            self._get,
            self._describe,
            self._list,
            self._put,
            self._exchange,
        )
        act: Callable[[], str] = self._dice.choice(acts)
        self._sent = act.__name__
        self.last.append("")
        try:
            answer = act()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            answer = type(error).__name__
            if type(error) not in KNOWN:
                self.findings.append(f"{answer}: {str(error)[:300]} <- {self._sent[:600]}")
        self.answers[f"{act.__name__} {answer}"] += 1
        self.last[-1] = f"{answer} <- {self._sent[:600]}"

    def _options(self, timeout_s: float = _PATIENCE_S) -> flight.FlightCallOptions:
        token = self._tokens[0] if self._dice.random() < 0.6 else self._dice.choice(self._tokens)
        header = self._dice.choice((b"authorization", b"mosaico-api-key-token"))
        value = (
            None if token is None else (b"Bearer " if header == b"authorization" else b"") + token.encode()
        )
        return flight.FlightCallOptions(headers=[] if value is None else [(header, value)], timeout=timeout_s)

    def _action(self) -> str:
        known = self._target.actions()
        name = self._dice.choice(sorted(known))
        body = hostile.body(self._dice, known[name])
        if self._dice.random() < 0.02:
            name = _sendable(self._dice.choice(hostile.NAMES))
        self._sent = f"action {name!r} {body[:500]!r}"
        list(self._client.do_action(flight.Action(name, body), self._options()))
        return "answered"

    def _get(self) -> str:
        ticket = self._dice.choice(self._target.tickets())
        body = hostile.body(self._dice, ticket)
        self._sent = f"ticket {body[:500]!r}"
        is_tail = b'"tail"' in body
        reader = None
        try:
            reader = self._client.do_get(
                flight.Ticket(body), self._options(_TAIL_S if is_tail else _PATIENCE_S)
            )
            for _ in range(_MOST_READ):
                reader.read_chunk()
        except StopIteration:
            return "read"
        except flight.FlightTimedOutError:
            if not is_tail:
                raise
        finally:
            if reader is not None:
                reader.cancel()
        return "left"

    def _describe(self) -> str:
        descriptor = self._descriptor(self._dice.choice(self._target.descriptions()))
        if self._dice.random() < 0.5:
            self._client.get_flight_info(descriptor, self._options())
            return "told"
        try:
            self._client.get_schema(descriptor, self._options())
        except OSError as error:  # pyarrow turns a refusal of the key into this here, and here alone
            if "Detail: Unauthenticated" not in str(error):
                raise
            return "refused"
        return "schema"

    def _list(self) -> str:
        criteria = hostile.body(self._dice, {"name": "x"})
        if self._dice.random() < 0.5:
            list(self._client.list_actions(self._options()))
        else:
            list(self._client.list_flights(criteria, self._options()))
        return "listed"

    def _descriptor(self, document: Any) -> flight.FlightDescriptor:
        if self._dice.random() < 0.1:
            path = [_sendable(self._dice.choice(hostile.NAMES)) for _ in range(self._dice.randrange(4))]
            self._sent += f" path {path!r}"[:500]
            return flight.FlightDescriptor.for_path(*path)
        body = hostile.body(self._dice, document)
        self._sent += f" {body[:500]!r}"
        return flight.FlightDescriptor.for_command(body)

    # -- streams to write ------------------------------------------------------------------------

    def _put(self) -> str:
        command, schema, words, batch = self._upload()
        writer, reader = self._client.do_put(self._command(command), schema, self._options())
        return self._write(writer, words, batch, reader.read)

    def _exchange(self) -> str:
        command, schema, words, batch = self._upload()
        writer, reader = self._client.do_exchange(self._command(command), self._options())
        if self._dice.random() < 0.9:
            writer.begin(schema)
        else:
            batch = None
        return self._write(writer, words, batch, lambda: [None for _ in reader])

    def _command(self, document: Any) -> flight.FlightDescriptor:
        """Return a stream's descriptor: often a valid one, so that the stream itself is looked at."""
        if self._dice.random() < 0.6:
            return flight.FlightDescriptor.for_command(json.dumps(document))
        return self._descriptor(document)

    def _upload(self) -> tuple[Any, pa.Schema, Any, pa.RecordBatch | None]:
        """Return a command, schema, words and batch of which some are hostile."""
        command, schema, words, batch = self._dice.choice(self._target.uploads())
        if self._dice.random() < 0.5:
            schema = hostile.schema(self._dice, schema)
            batch = hostile.batch(self._dice, schema)
        self._sent += f" columns {str(schema)[:300]!r} {None if batch is None else batch.num_rows} rows"
        return command, schema, words, batch

    def _write(
        self,
        writer: flight.FlightStreamWriter,
        words: Any,
        batch: pa.RecordBatch | None,
        listen: Callable[[], Any],
    ) -> str:
        try:
            for _ in range(self._dice.randrange(4)):
                told = hostile.body(self._dice, words)
                if batch is None or self._dice.random() < 0.3:
                    writer.write_metadata(told)
                elif self._dice.random() < 0.8:
                    writer.write_with_metadata(batch, told)
                else:
                    writer.write_batch(batch)
            if self._dice.random() < 0.8:
                writer.done_writing()
                listen()
        finally:
            writer.close()
        return "taken"


def _sendable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
