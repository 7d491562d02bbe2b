"""A plain Flight client that speaks the protocol of the SDK, also wrongly."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from pyarrow import flight

from gapless.serve.mosaico.types import row_type
from gapless.serve.server import Server

KIND = row_type("Temperature")
SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *(KIND or [])])


def readings(*times_ns: int) -> pa.RecordBatch:
    """Return temperatures whose values are their times."""
    return pa.RecordBatch.from_pylist(
        [{"timestamp_ns": time_ns, "value": float(time_ns)} for time_ns in times_ns], schema=SCHEMA
    )


class Caller:
    """Calls one server."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.server = server
        self.flight = flight.FlightClient(server.url)
        headers = [] if token is None else [(b"mosaico-api-key-token", token.encode())]
        self._headers = headers
        self.options = flight.FlightCallOptions(headers=headers, timeout=60.0)

    def close(self) -> None:
        """Close the connection."""
        self.flight.close()

    def raw(self, name: str, body: bytes) -> list[bytes]:
        """Return the bodies that an action answers with."""
        found = self.flight.do_action(flight.Action(name, body), self.options)
        return [result.body.to_pybytes() for result in found]

    def ask(self, name: str, **document: Any) -> list[Any]:
        """Return the responses of an action."""
        answers = [json.loads(body) for body in self.raw(name, json.dumps(document).encode())]
        assert all(answer["action"] == name for answer in answers)
        return [answer["response"] for answer in answers]

    def open(self, name: str, **metadata: Any) -> str:
        """Create a sequence and its first session; return the session's uuid."""
        self.ask("sequence_create", locator=name, user_metadata=metadata)
        return self.session(name)

    def session(self, name: str) -> str:
        """Return the uuid of a new session."""
        [response] = self.ask("session_create", locator=name)
        assert set(response) == {"uuid", "locator"}
        return str(response["uuid"])

    def topic(self, session: str, locator: str, tag: str = "Temperature", **metadata: Any) -> str:
        """Return the uuid of a new topic."""
        [response] = self.ask(
            "topic_create", session_uuid=session, locator=locator, serialization_format="default",
            ontology_tag=tag, user_metadata=metadata,
        )  # fmt: skip
        assert set(response) == {"uuid"}
        return str(response["uuid"])

    def stream(
        self, locator: str, uuid: str, schema: pa.Schema = SCHEMA, timeout_s: float = 60.0
    ) -> flight.FlightStreamWriter:
        """Return the writer of an upload."""
        command = json.dumps({"resource_locator": locator, "topic_uuid": uuid})
        options = flight.FlightCallOptions(headers=self._headers, timeout=timeout_s)
        return self.flight.do_put(flight.FlightDescriptor.for_command(command), schema, options)[0]

    def put(self, locator: str, uuid: str, *batches: pa.RecordBatch) -> None:
        """Upload batches and end the stream as the SDK does."""
        writer = self.stream(locator, uuid, batches[0].schema if batches else SCHEMA)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        writer.close()

    def write(self, name: str, *batches: pa.RecordBatch, **metadata: Any) -> None:
        """Write a whole sequence with one topic ``t``."""
        session = self.open(name, **metadata)
        self.put(f"{name}/t", self.topic(session, f"{name}/t"), *batches)
        self.ask("session_finalize", session_uuid=session)

    def info(self, locator: str, **window: int) -> flight.FlightInfo:
        """Return the flight of a sequence or topic."""
        command = json.dumps({"resource_locator": locator, **window})
        return self.flight.get_flight_info(flight.FlightDescriptor.for_command(command), self.options)

    def told(self, locator: str, **window: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return what is told of a sequence and of each of its topics."""
        info = self.info(locator, **window)
        return json.loads(info.app_metadata), [json.loads(e.app_metadata) for e in info.endpoints]

    def batches(self, locator: str, **window: int) -> list[pa.RecordBatch]:
        """Return the rows of a topic in the batches in which they come."""
        [endpoint] = self.info(locator, **window).endpoints
        return [chunk.data for chunk in self.flight.do_get(endpoint.ticket, self.options)]

    def times(self, locator: str, **window: int) -> list[int]:
        """Return the times of a topic's rows."""
        return [t for batch in self.batches(locator, **window) for t in batch.column(0).to_pylist()]

    def names(self) -> list[str]:
        """Return the sequences that are listed."""
        return [info.descriptor.path[0].decode() for info in self.flight.list_flights(options=self.options)]
