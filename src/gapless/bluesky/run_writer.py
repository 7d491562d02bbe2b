"""Writing one run: its normalised documents become the topics of one sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.bluesky.event_batch import EventBatch
from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.lossless import encode
from gapless.bluesky.run_name import run_name
from gapless.bluesky.run_report import RunReport
from gapless.bluesky.stream_schema import (
    DOCUMENTS,
    DOCUMENTS_SCHEMA,
    EXTERNAL,
    EXTERNAL_SCHEMA,
    VIOLATIONS,
    VIOLATIONS_SCHEMA,
)
from gapless.bluesky.stream_writer import StreamWriter
from gapless.bluesky.violation import Violation
from gapless.errors import DocumentRefused, NameRefused
from gapless.model.names import check_topic_name, fold
from gapless.model.outcome import OnErrorPolicy, Outcome

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.client.topic_writer import TopicWriter

_LATEST_S = 9e9  # what int64 nanoseconds hold
_OUTCOMES = {"success": Outcome.COMPLETED, "abort": Outcome.ABORTED, "fail": Outcome.FAILED}


class RunWriter:
    """Records the normalised documents of one run, in the order they come.

    The sequence is opened at once, its columns follow from the descriptors, and ``stop`` seals it. Call it
    from one thread; :meth:`seal` may run on another once no more documents come. ``replayed``: the documents
    come from a file or a server, so when they come says nothing. Raises what the client raises; a document that
    means nothing here raises DocumentRefused and changes nothing.
    """

    def __init__(
        self,
        client: Client,
        start: Mapping[str, Any],
        *,
        name: str = "{uid}",
        metadata: Mapping[str, Any] | None = None,
        original: Callable[[], Mapping[str, Any] | None] | None = None,
        replayed: bool = False,
    ) -> None:
        group = start.get("data_session")
        words = {"start": json_safe(start), **(metadata or {})}
        self._begin(
            client.sequence_create(
                run_name(name, start),
                words,
                group=group if isinstance(group, str) else None,
                on_error=OnErrorPolicy.Report,
            ),
            original,
            replayed=replayed,
        )
        try:
            self.keep_start(start)
        except BaseException as error:
            self.fail(error)
            raise

    @classmethod
    def of_layer(
        cls,
        client: Client,
        sequence: str,
        descriptors: Sequence[Mapping[str, Any]],
        *,
        layer: str = "late",
        original: Callable[[], Mapping[str, Any] | None] | None = None,
        replayed: bool = False,
    ) -> RunWriter:
        """Return the writer of a layer of a sealed run, for documents that came late.

        ``descriptors``: those of the base, so that events which name them find their columns.
        """
        self = cls.__new__(cls)
        self._begin(
            client.sequence_update(sequence, layer, on_error=OnErrorPolicy.Report),
            original,
            replayed=replayed,
        )
        try:
            for descriptor in descriptors:
                self._add_stream(descriptor)
                self._note_time(descriptor.get("time"))
        except BaseException as error:
            self.fail(error)
            raise
        self._is_layer = True
        return self

    def _begin(
        self,
        sequence: SequenceWriter,
        original: Callable[[], Mapping[str, Any] | None] | None,
        *,
        replayed: bool,
    ) -> None:
        self.sequence = sequence
        self._replayed = replayed
        self._latest_ns = self._document_ns = 0
        self.report = RunReport()
        self._original = original
        self._is_layer = False
        self._streams: dict[str, StreamWriter] = {}
        self._stream_of: dict[str, StreamWriter] = {}  # by descriptor uid
        self._key_of: dict[str, str] = {}  # by stream_resource uid
        self._marks: dict[str, int] = {}  # of each descriptor and stream_resource, by uid
        self._stop: Mapping[str, Any] | None = None
        self._topics: dict[str, TopicWriter] = {}
        self._topic_names: set[str] = set()
        self._write: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "descriptor": self._descriptor,
            "event": lambda doc: self.events(doc["descriptor"], [doc]),
            "event_page": self._event_page,
            "stream_resource": self._stream_resource,
            "stream_datum": lambda doc: self.stream_datums([doc]),
        }
        sequence.__enter__()

    def keep_start(self, start: Mapping[str, Any]) -> None:
        """Record the start document; in a layer, that of a run whose base did not live to hold it."""
        self._keep("start", start, None)
        self.report.documents["start"] += 1

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Record one document; ``stop`` records it and seals the sequence."""
        if name == "stop":
            self.stop(doc)
            self.seal()
            return
        write = self._write.get(name)
        if write is None:
            raise DocumentRefused("no such document goes into a run", found=name)
        write(doc)
        if name not in ("event", "stream_datum"):  # these are counted where many come at once
            self.report.documents[name] += 1

    # -- documents -----------------------------------------------------------------------------

    def _descriptor(self, doc: Mapping[str, Any]) -> None:
        if self._is_known(doc):
            return
        stream = self._add_stream(doc)
        self._keep("descriptor", doc, stream.name)
        if not self._is_layer and stream.columns.keys:
            stream.topic  # noqa: B018 - made now, so that a stream without events is there too

    def _add_stream(self, doc: Mapping[str, Any]) -> StreamWriter:
        name = str(doc.get("name", "primary"))
        stream = self._streams.get(name)
        if stream is None:
            topic = self._free_topic(name)
            stream = StreamWriter(
                name,
                doc,
                self.report.stream(name),
                open_topic=lambda schema, words: self._topic(topic, schema, words),
                open_external=lambda: self._topic(topic + EXTERNAL, EXTERNAL_SCHEMA, {"stream": name}),
            )
            self._streams[name] = stream
        else:
            stream.add_descriptor(doc)
        self._stream_of[doc["uid"]] = stream
        self._marks[doc["uid"]] = hash(encode(doc))
        return stream

    def _free_topic(self, stream: str) -> str:
        """Return the stream's own name where a topic may have it, else ``stream-<n>``."""
        taken = {fold(topic) for topic in self._topic_names}
        try:
            usable = fold(check_topic_name(stream)) not in taken
        except NameRefused:
            usable = False
        if not usable or stream.endswith(EXTERNAL) or stream.startswith("bluesky/"):
            stream = f"stream-{len(self._streams) + 1}"
        self._topic_names.add(stream)
        return stream

    def events(self, descriptor_uid: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Record events of one descriptor, in their order; the fast way for many."""
        self._rows(descriptor_uid, EventBatch.of_events(events))
        self.report.documents["event"] += len(events)

    def _event_page(self, page: Mapping[str, Any]) -> None:
        if len(page["uid"]):
            self._rows(page["descriptor"], EventBatch.of_page(page))

    def _rows(self, descriptor_uid: str, batch: EventBatch) -> None:
        stream = self._stream(descriptor_uid)
        violations = stream.write(descriptor_uid, batch, self._now_ns())
        self._note_time(batch.times[-1])
        if violations:
            self._violate(violations)

    def _stream(self, descriptor_uid: str) -> StreamWriter:
        try:
            return self._stream_of[descriptor_uid]
        except KeyError:
            raise DocumentRefused(
                "the document names a descriptor that has not come",
                sequence=self.sequence.name,
                found=descriptor_uid,
            ) from None

    def unresolved(self, stream: str, uid: str, seq_num: int, key: str, datum_id: str) -> None:
        """Record that an event refers to a datum that never came, with the datum's id."""
        text = "a datum" if isinstance(datum_id, str) else "the id of a datum"
        row = (
            self._now_ns(),
            stream,
            uid,
            seq_num,
            key,
            "unresolved",
            text,
            "nothing",
            encode(datum_id),
        )
        self._violate([Violation(*row)])
        self.report.stream(stream).violations += 1
        self.report.unresolved_datums += 1

    def _violate(self, violations: Sequence[Violation]) -> None:
        topic = self._topic(VIOLATIONS, VIOLATIONS_SCHEMA, {})
        times, *columns = map(list, zip(*map(astuple, violations), strict=True))
        topic.push_columns(
            pa.array(times, pa.int64()), dict(zip(VIOLATIONS_SCHEMA.names, columns, strict=True))
        )

    def _stream_resource(self, doc: Mapping[str, Any]) -> None:
        if not self._is_known(doc):
            self.know_resource(doc)
            self._keep("stream_resource", doc, None)

    def know_resource(self, doc: Mapping[str, Any]) -> None:
        """Take note of a stream_resource that is recorded already."""
        self._key_of[doc["uid"]] = str(doc["data_key"])
        self._marks[doc["uid"]] = hash(encode(doc))

    def _is_known(self, doc: Mapping[str, Any]) -> bool:
        """Tell whether the document came before; another one under its uid is refused."""
        before = self._marks.setdefault(doc["uid"], mark := hash(encode(doc)))
        if before != mark:
            raise DocumentRefused(
                "another document of this uid has come before",
                sequence=self.sequence.name,
                found=str(doc["uid"]),
            )
        return doc["uid"] in self._stream_of or doc["uid"] in self._key_of

    def stream_datums(self, datums: Sequence[Mapping[str, Any]]) -> None:
        """Record references to external frames of one descriptor, one row each."""
        stream = self._stream(datums[0]["descriptor"])
        unknown = [d["stream_resource"] for d in datums if d["stream_resource"] not in self._key_of]
        if unknown:
            raise DocumentRefused(
                "a stream_datum names a stream_resource that has not come",
                sequence=self.sequence.name,
                found=unknown[0],
            )
        keys = [self._key_of[d["stream_resource"]] for d in datums]
        stream.write_external(datums, keys, self._now_ns())
        self.report.documents["stream_datum"] += len(datums)

    def keep_original(self, name: str, doc: Mapping[str, Any]) -> None:
        """Record a legacy document as it came; what it became is recorded apart."""
        self._documents.push_row(self._now_ns(), name, original_uid(doc), None, None, encode(doc))

    def _keep(self, name: str, doc: Mapping[str, Any], stream: str | None) -> None:
        original = self._original() if self._original is not None else None
        self._documents.push_row(
            self._time_ns(doc),
            name,
            str(doc["uid"]),
            stream,
            encode(doc),
            None if original is None else encode(original),
        )

    def _time_ns(self, doc: Mapping[str, Any]) -> int:
        return self._now_ns() if not self._note_time(doc.get("time")) else self._document_ns

    def _note_time(self, time: Any) -> bool:
        """Remember the time that a document tells; False for one that tells none."""
        if isinstance(time, bool) or not isinstance(time, int | float) or not abs(time) < _LATEST_S:
            return False
        self._document_ns = round(time * 1e9)
        self._latest_ns = max(self._latest_ns, self._document_ns)
        return True

    def _now_ns(self) -> int:
        """Return the time of what tells none: when it came, or of a replayed run the latest that it told."""
        return self._latest_ns if self._replayed else self.sequence.now_ns()

    # -- topics --------------------------------------------------------------------------------

    @property
    def _documents(self) -> TopicWriter:
        return self._topic(DOCUMENTS, DOCUMENTS_SCHEMA, {})

    def _topic(self, name: str, schema: pa.Schema, metadata: dict[str, Any]) -> TopicWriter:
        topic = self._topics.get(name)
        if topic is None:
            topic = self.sequence.topic_create(name, metadata, schema=schema)
            self._topics[name] = topic
        return topic

    # -- the end -------------------------------------------------------------------------------

    def stop(self, doc: Mapping[str, Any]) -> None:
        """Record the stop document; :meth:`seal` then ends the sequence as it says."""
        self._keep("stop", doc, None)
        self.report.documents["stop"] += 1
        self._stop = doc

    def seal(self, cause: str | None = None) -> None:
        """Seal the sequence: as the stop document says, without one as interrupted by ``cause``."""
        stop = self._stop
        if not self._is_layer:
            self._end_streams(_counts(stop))
        learned = {"bluesky": json_safe(self.report.to_json())}
        if stop is None:
            outcome = Outcome.COMPLETED if self._is_layer else Outcome.INTERRUPTED
            self.sequence.end(outcome, cause, metadata=learned)
            return
        reason = stop.get("reason")
        self.sequence.end(
            _OUTCOMES.get(str(stop.get("exit_status")), Outcome.FAILED),
            str(json_safe(reason)) if reason else cause,
            metadata={"stop": json_safe(stop)} | learned,
        )

    def _end_streams(self, counts: Mapping[str, int]) -> None:
        for name, stream in self._streams.items():
            stream.end(counts.get(name))
        for name in counts.keys() - self._streams.keys():
            if counts[name]:
                text = f"the stop document counts {counts[name]} events of a stream that never came"
                self.report.findings.append({"code": "stream-missing", "stream": name, "message": text})
                self.sequence.event("warning", "stream-missing", text, source=name, durable=False)

    def fail(self, error: BaseException) -> None:
        """Give the run up: what was recorded is kept as pending, with the error as a notification."""
        self.sequence.__exit__(type(error), error, error.__traceback__)

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every document recorded so far is durable."""
        self.sequence.flush(timeout_s)


def original_uid(doc: Mapping[str, Any]) -> str:
    """Return what a legacy document is kept under: its uid or datum_id, those of a page as text; a bulk has none."""
    return str(doc.get("uid") or doc.get("datum_id") or "")


def _counts(stop: Mapping[str, Any] | None) -> dict[str, int]:
    """Return how many events of each stream the stop document counts, as far as these are counts."""
    told = stop.get("num_events") if stop is not None else None
    if not isinstance(told, Mapping):
        return {}
    return {
        str(name): int(count)
        for name, count in told.items()
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0
    }
