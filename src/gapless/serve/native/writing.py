"""The door through which gapless' own clients write: sequences, topics, rows, notes and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from gapless.client.remote import protocol
from gapless.errors import StateError, UsageError
from gapless.model.metadata import check_metadata
from gapless.serve.door import Action, Door
from gapless.serve.native.reading_question import Question
from gapless.serve.native.writing_exchange import LaneExchange
from gapless.serve.native.writing_sequence import IncomingSequence
from gapless.serve.native.writing_store import Found, check_asked, tombstone
from gapless.serve.native.writing_table import WriterTable, answer, sealed
from gapless.serve.native.writing_turn import BUSY_S, END_S
from gapless.serve.native.writing_upload import Upload
from gapless.store.frame import Kind

if TYPE_CHECKING:
    from pyarrow import flight

    from gapless.serve.call import Call
    from gapless.serve.served import Served

_KINDS: Final = {"gap": Kind.GAP, "artifact": Kind.ARTIFACT}
_LEAST_NS: Final = 1 - 2**63
_MOST: Final = 2**63
_LONGEST_CAUSE: Final = 1000
_LONGEST_TEXT: Final = 2000  # of the error that a pending sequence is kept with


class NativeWriting(Door):
    """Takes what clients record. What is accepted is durable; only an end that a client asks for seals anything.

    A lane has two threads, one of the transport and one that tells what is accepted; an open sequence has its
    writer's and, from its first full segment on, its sealer's.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._table = WriterTable(served)

    def actions(self) -> Mapping[str, Action]:
        """Return the actions by name."""
        answers: dict[str, Callable[[Call, Question], dict[str, Any]]] = {
            protocol.OPEN: self._open,
            protocol.TOPIC: self._topic,
            protocol.NOTE: self._note,
            protocol.END: self._end,
            protocol.KEEP: self._keep,
            protocol.DISCARD: self._discard,
        }
        return {name: _Answering(answer) for name, answer in answers.items()}

    def takes(self, command: Mapping[str, Any]) -> bool:
        """Take the commands of lanes and of files that are uploaded."""
        kind = command.get(protocol.KIND)
        return kind == protocol.LANE or (kind == protocol.ARTIFACT and "sha256" in command)

    def stop(self, deadline_s: float) -> None:
        """Let go of every sequence; each can be taken up again."""
        self._table.stop(deadline_s)

    # -- actions -------------------------------------------------------------------------------

    def _open(self, call: Call, words: Question) -> dict[str, Any]:
        """Begin a sequence or layer, or take it up again."""
        return self._table.open(call, words)

    def _topic(self, call: Call, words: Question) -> dict[str, Any]:
        """Declare a topic, durably; doing it again changes nothing."""
        sequence = self._table.sequence(call, words)
        with sequence.turn(call, BUSY_S):
            lane = sequence.topic(words.document.get("declaration"))
        sequence.flush()
        return {"next_seq": lane.next_seq}

    def _note(self, call: Call, words: Question) -> dict[str, Any]:
        """Record a gap or an artifact elsewhere, exactly once."""
        sequence = self._table.sequence(call, words)
        kind = _KINDS.get(words.text("kind"))
        if kind is None:
            raise UsageError("there is no such note", found=words.text("kind"), expected=", ".join(_KINDS))
        document = Question(check_metadata(words.document.get("document"), sequence=sequence.name))
        noted = _gap(document) if kind == Kind.GAP else _artifact(document)
        with sequence.turn(call, BUSY_S):
            return {"notes": sequence.note(words.whole("n"), kind, noted)}

    def _end(self, call: Call, words: Question) -> dict[str, Any]:
        """Seal a sequence that is complete here."""
        found = self._table.ending(call, words)
        if isinstance(found, Found):
            if found.manifest is None:
                raise StateError("the sequence is not open", sequence=words.text("name"), found=found.state)
            check_asked(
                found.manifest, words.text("name"), words.text("outcome"), words.document.get("topics")
            )
            return sealed(found.manifest)
        with self._deciding(call, found, "seal"):
            return sealed(found.end(words))

    def _keep(self, call: Call, words: Question) -> dict[str, Any]:
        """Keep a sequence as pending after an error."""
        text = words.text("text")[:_LONGEST_TEXT]
        notifications = _notifications(words.document.get("notifications"))
        found = self._table.ending(call, words)
        if isinstance(found, Found):
            return answer(found)
        with self._deciding(call, found, "keep"):
            found.keep(text, notifications)
        return {"state": "pending"}

    def _discard(self, call: Call, words: Question) -> dict[str, Any]:
        """Move a sequence that was not ended to the trash; its tombstone stays."""
        found = self._table.ending(call, words)
        if isinstance(found, Found):
            if found.state != "discarded":
                raise StateError("the sequence was ended", sequence=words.text("name"), found=found.state)
            return {"state": "discarded"}
        recording = found.recording
        said = tombstone(self._served.client, recording.header, words.document.get("tombstone"))
        with self._deciding(call, found, "discard"):
            found.discard(lambda: recording.discard(said))
        return {"state": "discarded"}

    @contextmanager
    def _deciding(self, call: Call, sequence: IncomingSequence, verb: str) -> Iterator[None]:
        """Let one call at a time decide how a sequence ends; a row of the audit says that it did."""
        with sequence.turn(call, END_S):
            try:
                with call.audited("write", f"{verb} {sequence.name}"):
                    yield
            finally:
                if sequence.is_over:
                    self._table.forget(sequence)

    # -- streams -------------------------------------------------------------------------------

    def exchange(
        self,
        call: Call,
        command: Mapping[str, Any],
        reader: flight.MetadataRecordBatchReader,
        writer: flight.MetadataRecordBatchWriter,
    ) -> None:
        """Take the rows of one topic until the client has no more."""
        words = Question(command)
        if command.get(protocol.KIND) != protocol.LANE:
            raise UsageError("only lanes are exchanges", found=repr(command.get(protocol.KIND))[:80])
        sequence = self._table.sequence(call, words)
        lane = sequence.lane(words.text("topic"))
        LaneExchange(self._served, sequence, lane).hold(call, reader, writer)

    def put(
        self,
        call: Call,
        command: Mapping[str, Any],
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Take a file."""
        words = Question(command)
        if command.get(protocol.KIND) != protocol.ARTIFACT:
            raise UsageError("only files are uploads", found=repr(command.get(protocol.KIND))[:80])
        sequence = self._table.sequence(call, words)
        with sequence.uploading():
            Upload(call, sequence, words, self._served.limits, writer).take(reader)


class _Answering:
    """An action with one JSON object as its answer."""

    def __init__(self, answer: Callable[[Call, Question], dict[str, Any]]) -> None:
        self._answer = answer
        self.__doc__ = answer.__doc__

    def __call__(self, call: Call, body: bytes) -> Iterable[bytes]:
        return [protocol.encode(self._answer(call, Question(protocol.decode(body))))]


def _gap(words: Question) -> dict[str, Any]:
    """Return a gap as the journal keeps it; UsageError for anything else."""
    cause = words.text("cause")
    found: dict[str, Any] = {
        "timestamp_ns": words.whole("timestamp_ns"),
        "topic": words.text("topic"),
        "first_seq": None,
        "count": words.maybe_whole("count"),
        "end_ns": words.maybe_whole("end_ns"),
        "cause": cause,
    }
    bounds = (("timestamp_ns", _LEAST_NS), ("end_ns", _LEAST_NS), ("count", 1))
    for name, least in bounds:
        if found[name] is not None and not least <= found[name] < _MOST:
            raise UsageError("a gap's number is out of bounds", field=name, found=found[name])
    if not cause or not cause.isprintable() or len(cause) > _LONGEST_CAUSE:
        raise UsageError("a gap needs a cause in words", field="cause", found=repr(cause)[:80])
    return found


def _artifact(words: Question) -> dict[str, Any]:
    """Return an artifact that lies elsewhere; a file of the client is uploaded, not noted."""
    return {
        "name": words.text("name"),
        "media_type": words.text("media_type"),
        "uri": words.text("uri"),
        "bytes": None,
        "sha256": None,
    }


def _notifications(document: object) -> list[dict[str, Any]]:
    found = [] if document is None else document
    if not isinstance(found, list):
        raise UsageError("notifications are a list", found=repr(found)[:80])
    kept = []
    for item in found:
        words = Question(check_metadata(item))
        kept.append(
            {
                "severity": words.text("severity"),
                "message": words.text("message")[:_LONGEST_TEXT],
                "timestamp_ns": words.whole("timestamp_ns"),
                "source": words.text("source"),
            }
        )
    return kept
