"""The Arrow Flight server: one port, each request handed to the door whose protocol it speaks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

import pyarrow as pa
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import UsageError
from gapless.serve.call import Call
from gapless.serve.connections import close_connections
from gapless.serve.door import Action, Door, Outgoing
from gapless.serve.gate import Gate
from gapless.serve.operations.log_lines import tell
from gapless.serve.refusal import InvalidArgument, code_of, invalid, refused
from gapless.serve.served import Served
from gapless.serve.visible import below

_GATE: Final = "gapless"
_NATIVE: Final = "gapless."
T = TypeVar("T")
Batch = pa.RecordBatch | tuple[pa.RecordBatch, bytes]


class FlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """Serves from the moment it is made. Every handler answers with a result or an error, whatever happens."""

    def __init__(
        self,
        location: str,
        doors: Sequence[Door],
        served: Served,
        gate: Gate,
        *,
        certificates: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._doors = tuple(doors)
        self._actions: dict[str, Action] = {
            name: action for door in doors for name, action in door.actions().items()
        }
        self._served = served
        self._log: logging.Logger = served.log
        super().__init__(location, tls_certificates=list(certificates) or None, middleware={_GATE: gate})

    def list_actions(self, context: flight.ServerCallContext) -> list[tuple[str, str]]:
        """Return every action with the first line of its description."""

        def listed(_call: Call) -> list[tuple[str, str]]:
            return [
                (name, (action.__doc__ or "").split("\n")[0])
                for name, action in sorted(self._actions.items())
            ]

        return self._answer(context, "the list of actions", listed)

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> Iterator[bytes]:
        """Run an action; its answers leave one by one."""
        name = str(action.type)

        def begun(call: Call) -> Iterable[bytes]:
            found = self._actions.get(name)
            if found is None:
                raise self._unknown(name)
            self._served.limits.check_request(action.body)
            self._served.metrics.add("gapless_actions_total", action=name)
            began_s = time.monotonic()
            try:
                return found(call, action.body.to_pybytes())
            finally:
                took_s = time.monotonic() - began_s
                self._served.metrics.observe("gapless_action_seconds", took_s, action=name)

        what = f"action {name[:80]!r}"
        return self._each(self._answer(context, what, begun), what)

    def list_flights(self, context: flight.ServerCallContext, criteria: bytes) -> list[flight.FlightInfo]:
        """Return the flights of all doors."""

        def listed(call: Call) -> list[flight.FlightInfo]:
            self._served.limits.check_request(criteria or b"")
            return [info for door in self._doors for info in door.flights(call, criteria or b"")]

        return self._answer(context, "the list of flights", listed)

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Hand the command to its door."""

        def told(call: Call) -> flight.FlightInfo:
            door, command = self._command(descriptor)
            return door.flight_info(call, command, descriptor)

        return self._answer(context, "flight information", told)

    def get_schema(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.SchemaResult:
        """Hand the command to its door; every refusal is a bad argument, Arrow passes on nothing else."""

        def told(call: Call) -> flight.SchemaResult:
            door, command = self._command(descriptor)
            return flight.SchemaResult(door.schema(call, command))

        try:
            return self._answer(context, "a schema", told)
        except (flight.FlightError, InvalidArgument) as error:
            raise invalid(error) from None

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        """Hand the ticket to its door; batches are made as fast as the client takes them."""

        def begun(call: Call) -> Outgoing:
            door, command = self._door_of(ticket.ticket, "ticket")
            return door.get(call, command)

        what = "a stream to read"
        outgoing = self._answer(context, what, begun)
        return flight.GeneratorStream(outgoing.schema, self._each(outgoing.batches, what))

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Hand an upload to its door."""

        def taken(call: Call) -> None:
            door, command = self._command(descriptor)
            door.put(call, command, reader, writer)

        self._answer(context, "an upload", taken)

    def do_exchange(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Hand an exchange to its door."""

        def held(call: Call) -> None:
            door, command = self._command(descriptor)
            door.exchange(call, command, reader, writer)

        self._answer(context, "an exchange", held)

    def _answer(self, context: flight.ServerCallContext, what: str, work: Callable[[Call], T]) -> T:
        """Run one handler: what it raises becomes what a client can be told."""
        try:
            admission = context.get_middleware(_GATE)
            call = Call(context, admission.access, self._served.audit, self._cut)
            admission.name(call)
            return work(call)
        except BaseException as error:  # a thread of the transport: what is raised here is the answer
            raise self._refused(error, what) from error

    def _cut(self, peer: str) -> None:
        close_connections(self.port, {peer})

    def _each(self, answers: Iterable[T], what: str) -> Iterator[T]:
        """Yield answers; what making one raises becomes what a client can be told, and leaving closes them."""
        try:
            yield from answers
        except GeneratorExit:
            raise
        except BaseException as error:  # a thread of the transport: what is raised here is the answer
            raise self._refused(error, what) from error

    def _refused(self, error: BaseException, what: str) -> Exception:
        code = code_of(error)
        self._served.metrics.add("gapless_requests_failed_total", code=code)
        tell(self._log, logging.INFO, "failed", f"{what}: {error}", code=code)
        return refused(error, what, self._log, lambda text: below(self._served.root, text))

    def _command(self, descriptor: flight.FlightDescriptor) -> tuple[Door, dict[str, Any]]:
        if descriptor.descriptor_type is not flight.DescriptorType.CMD:
            raise InvalidArgument("a descriptor is a command here: JSON that says what is asked for")
        return self._door_of(descriptor.command, "command")

    def _door_of(self, body: bytes, kind: str) -> tuple[Door, dict[str, Any]]:
        self._served.limits.check_request(body)
        command = protocol.decode(body)
        if not isinstance(command.get(protocol.KIND, ""), str):
            raise UsageError(f"a {kind} says in a word what it asks for", field=protocol.KIND)
        for door in self._doors:
            if door.takes(command):
                return door, command
        if protocol.KIND in command:
            raise UsageError(f"there is no such {kind}", found=repr(command[protocol.KIND])[:80])
        raise InvalidArgument(f"there is no such {kind}; its keys are {sorted(command)[:8]}")

    def _unknown(self, name: str) -> Exception:
        there_is = ", ".join(sorted(self._actions))
        if name.startswith(_NATIVE):
            return UsageError(f"there is no action {name[:80]!r}", expected=there_is)
        return InvalidArgument(f"there is no action {name[:80]!r}; there is {there_is}")
