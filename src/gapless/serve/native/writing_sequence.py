"""A sequence that is open on this server, written by a client elsewhere."""

from __future__ import annotations

import binascii
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from gapless.client.ending import learned_metadata
from gapless.errors import (
    DeadlinePassed,
    GaplessError,
    NameTaken,
    NotFound,
    SchemaRefused,
    ServingFailed,
    StateError,
    UsageError,
    WriterClosed,
)
from gapless.model.metadata import check_metadata
from gapless.model.names import check_topic_name, fold
from gapless.model.outcome import Outcome, choice
from gapless.serve.native.writing_lane import IncomingLane
from gapless.serve.native.writing_turn import await_turn
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.frame import Kind
from gapless.store.health import HEALTH_INDEX
from gapless.store.layout import EVENTS_INDEX
from gapless.store.reserved import EVENTS, QUARANTINE
from gapless.store.topic_state import TopicState

if TYPE_CHECKING:
    from gapless.client.local_recording import LocalRecording
    from gapless.serve.call import Call
    from gapless.serve.metrics import Metrics
    from gapless.serve.native.reading_question import Question

_FIRST_INDEX: Final = 16  # below are the reserved topics
_RESERVED: Final = {"_events": (EVENTS_INDEX, EVENTS), "_quarantine": (3, QUARANTINE)}
BaseTopics = Mapping[str, tuple[str, pa.Schema]]  # folded name -> name and schema


class IncomingSequence:
    """One recording act of a client: its topics, notes and end. Every method may be called from any thread.

    ``states`` are the topics that an adopted journal holds, ``artifacts`` its files;
    ``group`` is whose it is, a layer's that of its base.
    """

    def __init__(
        self,
        recording: LocalRecording,
        base_topics: BaseTopics,
        artifacts: Mapping[str, Any],
        group: str | None,
        metrics: Metrics,
    ) -> None:
        self.recording = recording
        self.name = str(recording.header["name"])
        self.uid = str(recording.header["uid"])
        self.group = group
        self.lock = threading.RLock()
        self.artifacts = {fold(name): {"name": name, **entry} for name, entry in artifacts.items()}
        self._gaps = list(recording.sealer.sealer.gaps) if recording.sealer is not None else []
        self.manifest: dict[str, Any] | None = None
        self.is_over = False  # sealed, kept, discarded, broken or let go: this object takes no more
        self._base_topics = base_topics
        self._metrics = metrics
        self._counting = threading.Lock()
        self._uploads = 0
        self._used_s = time.monotonic()
        self._states: dict[str, TopicState] = {
            state.declaration.name: state
            for state in list(recording.topics.values())
            if state.declaration.index != HEALTH_INDEX
        }
        self._lanes = {name: IncomingLane(recording, state, metrics) for name, state in self._states.items()}

    # -- who uses it ---------------------------------------------------------------------------

    def touch(self) -> None:
        """Note that the client is there."""
        self._used_s = time.monotonic()

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Count an upload of the client while it lasts."""
        with self._counting:
            self._uploads += 1
        try:
            yield
        finally:
            with self._counting:
                self._uploads -= 1
            self.touch()

    @contextmanager
    def turn(self, call: Call, patience_s: float) -> Iterator[None]:
        """Let one call at a time use the sequence; LimitReached when another one is at it for too long."""
        await_turn(lambda wait_s: self.lock.acquire(timeout=wait_s), call.cancelled, patience_s, self.name)
        try:
            yield
        finally:
            self.lock.release()

    @property
    def idle_s(self) -> float:
        """For how long no connection has been there."""
        used = self._uploads or any(lane.is_held for lane in list(self._lanes.values()))
        return 0.0 if used else time.monotonic() - self._used_s

    @property
    def is_broken(self) -> bool:
        """Whether the recording failed; what is durable can be adopted."""
        return self.recording.failure is not None

    def reason(self, error: GaplessError) -> GaplessError:
        """Return what a client is told for an error met while it pushed."""
        if isinstance(error, WriterClosed) and self.manifest is None and not self.is_broken:
            return gone(self.name)
        return error

    # -- topics --------------------------------------------------------------------------------

    def topic(self, document: object) -> IncomingLane:
        """Add a topic as a declaration says, or return the one that was declared alike before.

        Raises UsageError, NameRefused, NameTaken, SchemaRefused, MetadataRefused.
        """
        with self.lock:
            self._check_open()
            wanted = self._declaration(document)
            known = self._states.get(wanted.name)
            if known is None:
                self._check_name(wanted.name)
                self._check_base(wanted)
                self._states[wanted.name] = state = self.recording.declare(wanted)
                self._lanes[wanted.name] = IncomingLane(self.recording, state, self._metrics)
            elif not _alike(known.declaration, wanted):
                raise SchemaRefused("the topic was declared otherwise", sequence=self.name, topic=wanted.name)
            return self._lanes[wanted.name]

    def lane(self, topic: str) -> IncomingLane:
        """Return the lane of a declared topic, or raise NotFound."""
        self._check_open()
        found = self._lanes.get(topic)
        if found is None:
            raise NotFound("the sequence has no topic of that name", sequence=self.name, topic=topic)
        return found

    def _declaration(self, document: object) -> TopicDeclaration:
        """Return a declaration from the network, checked as one made here would be, with a number of its own."""
        try:
            found = TopicDeclaration.from_json(document)  # type: ignore[arg-type] # whatever it is, it is looked at
        except (KeyError, TypeError, ValueError, binascii.Error, pa.ArrowException, OSError) as error:
            raise UsageError(
                "a declaration cannot be understood",
                sequence=self.name,
                found=f"{type(error).__name__}: {error}",
            ) from error
        if not isinstance(found.name, str) or not isinstance(found.producer_seq, bool):
            raise UsageError("a declaration cannot be understood", sequence=self.name, found=repr(found.name))
        if found.name in _RESERVED:
            index, schema = _RESERVED[found.name]
            if not found.schema.equals(schema):
                raise SchemaRefused(
                    "a reserved topic has columns of its own", sequence=self.name, topic=found.name
                )
            return TopicDeclaration(index, found.name, schema, {})
        name = check_topic_name(found.name)
        schema = check_schema(found.schema, name)
        ontology = check_metadata(_ontology(found.ontology, name), sequence=self.name, topic=name)
        metadata = check_metadata(found.metadata, sequence=self.name, topic=name)
        indexes = (state.declaration.index for state in self._states.values())
        index = max([_FIRST_INDEX - 1, *indexes]) + 1
        return TopicDeclaration(index, name, schema, ontology, metadata, found.producer_seq)

    def _check_name(self, name: str) -> None:
        for known in self._states:
            if fold(known) == fold(name):
                raise NameTaken(
                    "the sequence has a topic of that name", sequence=self.name, topic=name, found=known
                )

    def _check_base(self, wanted: TopicDeclaration) -> None:
        """In a layer: a topic that the base has must have the same name and columns, or none could be read."""
        base_name, schema = self._base_topics.get(fold(wanted.name), (wanted.name, wanted.schema))
        if base_name != wanted.name:
            raise NameTaken(
                "the base has a topic of that name", sequence=self.name, topic=wanted.name, found=base_name
            )
        if not schema.equals(wanted.schema):
            raise SchemaRefused(
                "the base has the topic with other columns",
                sequence=self.name,
                topic=wanted.name,
                found=str(wanted.schema),
                expected=str(schema),
                next_step="give the layer's topic the base's columns, or another name",
            )

    # -- rows and notes ------------------------------------------------------------------------

    def flush(self) -> None:
        """Return when everything taken so far is durable."""
        self.recording.flush()

    @property
    def notes(self) -> int:
        """How many gaps and artifacts are recorded."""
        return self.recording.notes

    def note(self, number: int, kind: Kind, document: dict[str, Any]) -> int:
        """Record a gap or an artifact durably, unless it is here already; return how many there are.

        Raises StateError for a number with a hole before it, or that another note has.
        """
        with self.lock:
            if not self.has_note(number, kind, document):
                self.recording.note(kind, document)
                if kind == Kind.ARTIFACT:
                    self.artifacts[fold(document["name"])] = document
                else:
                    self._note_gap(document)
            return self.notes

    def has_note(self, number: int, kind: Kind, document: dict[str, Any]) -> bool:
        """Tell whether a note is here; False for the next one. StateError for a hole, or another note's number.

        An artifact is here when one of that name has every word of the document: the same SHA-256, or address.
        """
        self._check_open()
        if number == self.notes:
            return False
        if kind == Kind.ARTIFACT:
            entry = self.artifacts.get(fold(document["name"]), {})
            known = all(entry.get(word) == told for word, told in document.items())
        else:
            known = document in self._gaps
        if number > self.notes or not known:
            raise StateError(
                "notes before this one are missing"
                if number > self.notes
                else "another note has this number",
                sequence=self.name,
                found=number,
                expected=self.notes,
                next_step="open the sequence again: the answer tells the next number",
            )
        return True

    def _note_gap(self, document: dict[str, Any]) -> None:
        self._gaps.append(document)
        if document["topic"] in self._states:
            self._states[document["topic"]].gapped += document["count"] or 0

    def describe(self) -> dict[str, Any]:
        """Return what a client that opens the sequence wants to know."""
        with self.lock:
            self._check_open()
            topics = {
                name: {"next_seq": lane.next_seq, "declaration": lane.declaration.to_json()}
                for name, lane in self._lanes.items()
            }
            return {"state": "open", "topics": topics, "notes": self.notes}

    # -- the end -------------------------------------------------------------------------------

    def end(self, words: Question) -> dict[str, Any]:
        """Seal the sequence as the client asks, and return the manifest.

        Raises StateError while rows or notes that the client offered are not here: nothing is sealed then,
        and the sequence stays open. Asked again, it answers the same.
        """
        with self.lock:
            if self.manifest is not None:
                return self.manifest
            self._check_open()
            outcome = choice(Outcome, words.text("outcome"), "outcome")
            learned = learned_metadata(
                self.name, self.recording.header["metadata"], words.document.get("metadata")
            )
            self._check_complete(words)
            for lane in self._lanes.values():
                lane.expel()
            self._check_complete(words)  # nobody pushes any more
            closing = {"outcome": str(outcome), "cause": words.maybe_text("cause")} | learned
            with self._ending():
                self.recording.close(closing)
                self.manifest = self.recording.seal()
            return self.manifest

    def _check_complete(self, words: Question) -> None:
        """Raise StateError unless every row and note that was offered is here, and no other."""
        offered = words.document.get("topics")
        if not isinstance(offered, dict):
            raise UsageError("an end tells what each topic was offered", field="topics", found=repr(offered))
        here = {name: lane.next_seq for name, lane in self._lanes.items()}
        for name in sorted(here.keys() | offered.keys()):
            if offered.get(name, 0) != here.get(name):
                raise StateError(
                    "the sequence is not complete here: nothing is sealed",
                    sequence=self.name,
                    topic=name,
                    found=f"{here[name]} rows" if name in here else "no such topic",
                    expected=f"{offered.get(name, 0)} rows",
                    next_step="send what is missing, then end it",
                )
        if words.whole("notes") != self.notes:
            raise StateError(
                "the sequence is not complete here: nothing is sealed",
                sequence=self.name,
                found=f"{self.notes} notes",
                expected=f"{words.whole('notes')} notes",
                next_step="send what is missing, then end it",
            )

    def keep(self, text: str, notifications: list[dict[str, Any]]) -> None:
        """Keep all that is here as pending, with the client's notifications."""
        with self.lock:
            self._check_open(broken_too=True)
            with self._ending():
                if not self.is_broken:
                    self.recording.close({"outcome": str(Outcome.FAILED), "cause": text})
                words = {"error": text, "notifications": notifications}
                journal.write_pending(self.recording.bundle, words, self.recording.platform)

    def discard(self, discard: Callable[[], None]) -> None:
        """Let go of the sequence and call what moves it to the trash. No end is written: nothing seals it."""
        with self.lock:
            self._check_open(broken_too=True)
            self.let_go()
            discard()

    def let_go(self, timeout_s: float | None = None) -> None:
        """Make durable what was taken and give up the ownership: the journal can be adopted. Nothing is sealed."""
        if not self.lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise DeadlinePassed(
                "a call holds the sequence", sequence=self.name, expected=f"within {timeout_s} s"
            )
        try:
            if not self.is_over:
                self.is_over = True
                if self.is_broken:
                    self.recording.release()
                else:
                    self.recording.let_go(timeout_s)
        finally:
            self.lock.release()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Take nothing more, whatever comes; the ownership is given up in the end."""
        self.is_over = True
        try:
            yield
        finally:
            self.recording.release()

    def _check_open(self, *, broken_too: bool = False) -> None:
        if self.is_over:
            raise gone(self.name)
        if self.recording.failure is not None and not broken_too:
            raise self.recording.failure


def _ontology(words: object, topic: str) -> dict[str, Any]:
    """Return what a declaration says of its type; SchemaRefused for what no catalog could keep."""
    if isinstance(words, dict):
        tag, version, fingerprint = words.get("tag"), words.get("version", 1), words.get("fingerprint", "")
        whole = isinstance(version, int) and not isinstance(version, bool)
        if (tag is None or isinstance(tag, str)) and whole and isinstance(fingerprint, str):
            return words
    raise SchemaRefused("a declaration's type cannot be understood", topic=topic, found=repr(words)[:80])


def gone(name: str) -> ServingFailed:
    """Return the error of a call for a sequence that this server does not have open."""
    return ServingFailed(
        "the sequence is not open on this server at the moment", sequence=name, next_step="open it again"
    )


def _alike(one: TopicDeclaration, other: TopicDeclaration) -> bool:
    """Tell whether two declarations differ in nothing but their numbers."""
    first, second = one.to_json(), other.to_json()
    return first | {"index": 0} == second | {"index": 0}
