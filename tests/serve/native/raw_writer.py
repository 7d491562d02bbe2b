"""A client of the writing protocol made of plain Flight calls, and what it writes."""

from __future__ import annotations

import io
import json
import queue
import secrets
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import GaplessError
from gapless.store.declaration import TopicDeclaration

SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("text", pa.string()),
    ]
)
ONTOLOGY: dict[str, Any] = {"tag": None, "version": 1, "fingerprint": ""}
DEADLINE_S = 60.0


def rows(first: int, stop: int) -> pa.RecordBatch:
    """Return the rows of these arrival numbers: each can be told from all others."""
    numbers = range(first, stop)
    columns = [[10 * n for n in numbers], list(numbers), [f"row {n}" for n in numbers]]
    arrays = [pa.array(values, column.type) for values, column in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def declaration(topic: str, schema: pa.Schema = SCHEMA, *, producer_seq: bool = False) -> dict[str, Any]:
    """Return a declaration as it travels."""
    return TopicDeclaration(16, topic, schema, ONTOLOGY, {"x": 1}, producer_seq).to_json()


def typed(error: Exception) -> GaplessError:
    """Return the error of the package that a Flight error carries; one that carries none is raised itself."""
    found = protocol.decode_error(getattr(error, "extra_info", b"") or b"")
    if found is None:
        raise error
    return found


class RawWriter:
    """One recording act of one client."""

    def __init__(self, url: str, name: str = "run", *, token: str | None = None, **known: Any) -> None:
        self.name = name
        self.uid = secrets.token_hex(16)
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        self._options = flight.FlightCallOptions(headers=headers, timeout=DEADLINE_S)
        self._stream_options = flight.FlightCallOptions(headers=headers)
        self._known = known
        self.connect(url)

    def connect(self, url: str) -> None:
        """Talk to another server from now on."""
        self.client = flight.connect(url, generic_options=[("grpc.use_local_subchannel_pool", 1)])

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def action(self, kind: str, /, **words: Any) -> dict[str, Any]:
        """Call an action; errors of the package come back as themselves."""
        body = json.dumps({"name": self.name, "uid": self.uid} | words).encode()
        try:
            (result,) = self.client.do_action(flight.Action(kind, body), self._options)
        except flight.FlightError as error:
            raise typed(error) from error
        answer: dict[str, Any] = json.loads(result.body.to_pybytes())
        return answer

    def open(self, **words: Any) -> dict[str, Any]:
        """Begin, or take up again."""
        return self.action(protocol.OPEN, **(self._known | words))

    def topic(self, topic: str = "t", **words: Any) -> int:
        """Declare a topic and return the next row."""
        answer = self.action(protocol.TOPIC, declaration=declaration(topic, **words), on_full="block")
        return int(answer["next_seq"])

    def note(self, number: int, cause: str = "pause", **words: Any) -> int:
        """Note a gap of three messages."""
        document = {"timestamp_ns": 5, "topic": "t", "count": 3, "end_ns": None, "cause": cause} | words
        return int(self.action(protocol.NOTE, n=number, kind="gap", document=document)["notes"])

    def end(
        self, topics: dict[str, int], notes: int = 0, outcome: str = "completed", **words: Any
    ) -> dict[str, Any]:
        """Commit."""
        known = {"outcome": outcome, "cause": None, "topics": topics, "notes": notes}
        return self.action(protocol.END, **(known | words))

    def lane(self, topic: str = "t", schema: pa.Schema = SCHEMA) -> RawLane:
        """Begin an exchange."""
        return RawLane(self, topic, schema)

    def upload(
        self, artifact: str, data: bytes, sha256: str, number: int, *, chunk_bytes: int = 1 << 20
    ) -> None:
        """Upload a file."""
        stream = self.begin_upload(artifact, sha256, number)
        try:
            for start in range(0, len(data), chunk_bytes):
                stream.write_batch(chunk(data[start : start + chunk_bytes]))
            stream.close()
        except flight.FlightError as error:
            raise typed(error) from error

    def begin_upload(
        self, artifact: str, sha256: str, number: int, schema: pa.Schema | None = None
    ) -> flight.FlightStreamWriter:
        """Begin an upload."""
        words = {
            protocol.KIND: protocol.ARTIFACT,
            "name": self.name,
            "uid": self.uid,
            "artifact": artifact,
            "media_type": "text/plain",
            "sha256": sha256,
            "n": number,
        }
        descriptor = flight.FlightDescriptor.for_command(json.dumps(words).encode())
        writer, _ = self.client.do_put(descriptor, schema or chunk(b"").schema, self._stream_options)
        return writer


def chunk(data: bytes) -> pa.RecordBatch:
    """Return a piece of a file as it travels."""
    return pa.record_batch([pa.array([data], pa.binary())], names=["data"])


def misnamed(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """Return a batch in which the name of a column is no text any more, as a bad line leaves it."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    bad = b"\x97" * len(name)
    return pa.ipc.open_stream(sink.getvalue().replace(name.encode(), bad)).read_next_batch()


class RawLane:
    """One exchange; a thread listens to what the server says."""

    def __init__(self, owner: RawWriter, topic: str, schema: pa.Schema) -> None:
        words = {protocol.KIND: protocol.LANE, "name": owner.name, "uid": owner.uid, "topic": topic}
        descriptor = flight.FlightDescriptor.for_command(json.dumps(words).encode())
        self.writer, self._reader = owner.client.do_exchange(descriptor, owner._stream_options)
        self._schema = schema
        self._begun = False
        self._heard: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
        self.accepted = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.next_seq = int(self._hear(lambda words: "next_seq" in words)["next_seq"])

    def _listen(self) -> None:
        try:
            while True:
                words = json.loads(self._reader.read_chunk().app_metadata.to_pybytes())
                self.accepted = max(self.accepted, words.get("accepted", 0))
                self._heard.put(words)
        except StopIteration:
            self._heard.put(None)
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            self._heard.put(error)

    def _hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            words = self._heard.get(timeout=DEADLINE_S)
            if isinstance(words, Exception):
                raise typed(words) from words
            assert words is not None, "the exchange is over"
            if wanted(words):
                return words

    def push(self, first: int, stop: int, **words: Any) -> None:
        """Send rows."""
        self.send(rows(first, stop), first_seq=first, **words)

    def send(self, batch: pa.RecordBatch, **words: Any) -> None:
        """Send any batch."""
        if not self._begun:
            self.writer.begin(self._schema)
            self._begun = True
        self.writer.write_with_metadata(batch, json.dumps({"unstamped": 0} | words).encode())

    def say(self, **words: Any) -> None:
        """Send words without rows."""
        self.writer.write_metadata(json.dumps(words).encode())

    def sync(self, until: int) -> None:
        """Ask for a sync and wait until everything below ``until`` is accepted."""
        self.say(sync=True)
        self.wait(until)

    def wait(self, until: int) -> None:
        """Wait until everything below ``until`` is accepted."""
        if self.accepted < until:
            self._hear(lambda words: words.get("accepted", 0) >= until)

    def failed(self) -> GaplessError:
        """Wait for the words of a recording that broke."""
        words = self._hear(lambda words: "failed" in words)["failed"]
        found = protocol.decode_error(protocol.encode(words))
        assert found is not None
        return found

    def refused(self) -> GaplessError:
        """Wait for the error that ends the exchange."""
        while True:
            words = self._heard.get(timeout=DEADLINE_S)
            if isinstance(words, Exception):
                return typed(words)
            assert words is not None, "the exchange ended well"

    def finish(self) -> int:
        """End in order; return what is accepted."""
        if not self._begun:
            self.writer.begin(self._schema)
        self.writer.done_writing()
        while (words := self._heard.get(timeout=DEADLINE_S)) is not None:
            if isinstance(words, Exception):
                raise typed(words) from words
        self._thread.join(DEADLINE_S)
        self.writer.close()
        return self.accepted

    def cut(self) -> None:
        """End as a client that is killed."""
        self._reader.cancel()
        self._thread.join(DEADLINE_S)
