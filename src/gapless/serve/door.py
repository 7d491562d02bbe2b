"""A door: one protocol on the server, behind the one port that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import flight

    from gapless.serve.call import Call

#: What an action does: the caller and the body that came in; the bodies that go out.
Action = Callable[["Call", bytes], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Batches on their way to a client: made one by one, as fast as the client takes them.

    ``batches`` yields record batches of ``schema``, or pairs of one and the metadata bytes that go with it;
    no column may be a dictionary, which Arrow does not send this way.
    The iterator is closed when the client has all, has seen enough or has gone; what it raises reaches the
    client as an error.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch | tuple[pa.RecordBatch, bytes]]


class Door:
    """What the server calls, from any number of threads at one time; a class that inherits need not have all.

    Whatever a method raises reaches the client: errors of the package as they are, ArrowInvalid as a bad
    argument, NotImplementedError as something the server does not have, anything else as a fault of the server
    that its log tells about. ``command`` is the JSON object of a descriptor or ticket that :meth:`takes` said
    yes to.
    """

    def actions(self) -> Mapping[str, Action]:
        """Return the actions by name; asked for once."""
        return {}

    def takes(self, command: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Tell whether a command or ticket is of this door's protocol."""
        return False

    def flight_info(
        self, call: Call, command: Mapping[str, Any], descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Answer GetFlightInfo."""
        raise NotImplementedError

    def schema(self, call: Call, command: Mapping[str, Any]) -> pa.Schema:
        """Answer GetSchema. Every error reaches the client as a bad argument: Arrow passes on no other."""
        raise NotImplementedError

    def get(self, call: Call, ticket: Mapping[str, Any]) -> Outgoing:
        """Answer DoGet."""
        raise NotImplementedError

    def put(
        self,
        call: Call,
        command: Mapping[str, Any],
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Take a DoPut until it ends."""
        raise NotImplementedError

    def exchange(
        self,
        call: Call,
        command: Mapping[str, Any],
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Hold a DoExchange until it ends."""
        raise NotImplementedError

    def flights(self, call: Call, criteria: bytes) -> Iterable[flight.FlightInfo]:  # noqa: ARG002
        """Answer ListFlights; the answers of all doors follow one another."""
        return ()

    def stop(self, deadline_s: float) -> None:
        """Let go of everything within the deadline: what is open stays open, durable and recoverable.

        Called once, when the calls that were going on have ended or had their time; those that still hang
        are cut afterwards.
        """
