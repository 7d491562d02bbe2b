"""One session while it is written: the base of a new sequence or a layer of a sealed one.

Only :meth:`Session.finalize` commits. Whatever else ends a session leaves it as what it is: open without
an owner, kept for a person to decide on, or in the trash.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from gapless.client.batching import in_frames
from gapless.client.ending import tombstone
from gapless.client.local_recording import LocalRecording
from gapless.client.reserved_rows import ReservedRows
from gapless.errors import (
    GaplessError,
    NameTaken,
    NotFound,
    RecordingFailed,
    SchemaRefused,
    StateError,
    ValueRefused,
)
from gapless.model.ledger import Ledger
from gapless.model.names import fold
from gapless.model.outcome import Outcome
from gapless.serve.mosaico.locator import BASE
from gapless.serve.mosaico.row_shape import RowShape, arriving
from gapless.serve.mosaico.types import row_type
from gapless.store.declaration import TIME, TopicDeclaration
from gapless.store.lane import GeneralLane, PackedLane
from gapless.store.topic_state import TopicState

_FIRST_INDEX: Final = 16  # below are the reserved topics
_INT64_MIN: Final = -(2**63)


@dataclass
class SessionTopic:
    """A topic that was asked for; its columns are known, and it is declared, when its stream begins."""

    uuid: str
    name: str
    tag: str
    layout: str
    metadata: dict[str, Any]
    shape: RowShape | None = None
    state: TopicState | None = None
    cut: bool = False  # a stream of it ended without a word from the client


@dataclass
class Session:
    """One session and its topics; every method may be called from any thread."""

    sequence: str
    identifier: str
    group: str | None
    key_id: str | None
    recording: LocalRecording
    claimed: bool = False  # session_create was called
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    reports: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._topics: dict[str, SessionTopic] = {}  # by folded name
        self._next_index = _FIRST_INDEX
        self._streams = 0
        self._used_s = time.monotonic()
        self._events = ReservedRows(lambda: self.recording)
        self.ended = False

    @property
    def locator(self) -> str:
        """What the SDK calls the session."""
        return f"{self.sequence}:{self.identifier}"

    @property
    def is_base(self) -> bool:
        """Whether it is the first session of its sequence."""
        return self.identifier == BASE

    def idle_s(self) -> float:
        """Return for how long nobody has used the session; 0 while a stream is open."""
        with self._lock:
            return 0.0 if self._streams else time.monotonic() - self._used_s

    @property
    def is_cut(self) -> bool:
        """Whether a stream ended without a word from the client: the client has gone."""
        with self._lock:
            return any(topic.cut for topic in self._topics.values())

    @contextmanager
    def _active(self) -> Iterator[None]:
        with self._lock:
            if self.ended:
                raise StateError("the session has ended", sequence=self.sequence)
            self._used_s = time.monotonic()
            yield

    # -- topics --------------------------------------------------------------------------------

    def add_topic(self, name: str, tag: str, layout: str, metadata: Mapping[str, Any]) -> SessionTopic:
        """Note a new topic; NameTaken where the session has one of that name."""
        with self._active():
            if fold(name) in self._topics:
                raise NameTaken("the session has a topic of that name", sequence=self.sequence, topic=name)
            topic = SessionTopic(str(uuid.uuid4()), name, tag, layout, dict(metadata))
            self._topics[fold(name)] = topic
            return topic

    def topic(self, topic_uuid: str) -> SessionTopic | None:
        """Return the topic of a uuid."""
        with self._lock:
            return next((topic for topic in self._topics.values() if topic.uuid == topic_uuid), None)

    def has_topic(self, name: str) -> bool:
        """Tell whether a topic of that name was asked for in this session."""
        with self._lock:
            return fold(name) in self._topics

    def forget_topic(self, name: str) -> None:
        """Take a topic back whose stream never began; StateError for any other."""
        with self._active():
            topic = self._topics.get(fold(name))
            if topic is None:
                raise NotFound("the session has no such topic", sequence=self.sequence, topic=name)
            if topic.state is not None:
                raise StateError(
                    "a topic that has been written to is not deleted alone",
                    sequence=self.sequence,
                    topic=name,
                    next_step="delete the session",
                )
            del self._topics[fold(name)]

    @contextmanager
    def stream(self, topic: SessionTopic, sent: pa.Schema) -> Iterator[Incoming]:
        """Take rows of a schema into a topic; SchemaRefused for a second schema of one topic."""
        with self._active():
            shape = self._declare(topic, sent)
            assert topic.state is not None
            incoming = Incoming(self, topic, shape, self.recording.lane(topic.state))
            self._streams += 1
        try:
            yield incoming
        finally:
            with self._lock:
                self._streams -= 1
                self._used_s = time.monotonic()

    def _declare(self, topic: SessionTopic, sent: pa.Schema) -> RowShape:
        if topic.shape is None:
            shape = arriving(topic.tag, topic.layout, sent, topic.name)
            declaration = TopicDeclaration(
                self._next_index, topic.name, shape.stored, shape.ontology, topic.metadata
            )
            topic.state = self.recording.declare(declaration)
            topic.shape = shape
            self._next_index += 1
        elif not topic.shape.travelling.equals(sent):
            raise SchemaRefused(
                "the topic has other columns",
                topic=topic.name,
                found=str(sent),
                expected=str(topic.shape.travelling),
            )
        return topic.shape

    # -- words ---------------------------------------------------------------------------------

    def notify(self, message: str, topic: str = "") -> None:
        """Record what a client reports, durably."""
        with self._active():
            self._tell(message, topic)
            self.recording.flush()

    def report(self, message: str) -> None:
        """Record that the session went wrong: from now on it can be kept, and never be complete."""
        self.notify(message)
        self.reports.append(message)

    def _tell(self, message: str, topic: str = "") -> None:
        self._events.push_event(self.sequence, None, "error", "notification", message, topic, None)

    # -- the end -------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Commit the session; one that was reported or whose stream was cut is kept as pending instead.

        Raises StateError while a stream is open, and what the disk refuses; what is recorded stays then.
        """
        with self._active():
            if self._streams:
                raise StateError("a stream of the session is still open", sequence=self.sequence)
            self._declare_unwritten()
            reason = self._reason_to_keep()
            self.ended = True
        try:  # without the lock: sealing takes its time, and others ask for other sessions meanwhile
            if reason is not None:
                self._keep(reason)
            else:
                self._commit()
        finally:
            self.recording.release()

    def _commit(self) -> None:
        try:
            self.recording.close({"outcome": str(Outcome.COMPLETED), "cause": None})
        except RecordingFailed as failure:
            self._keep(str(failure))
            raise
        self.recording.seal()

    def _declare_unwritten(self) -> None:
        """Declare topics that were asked for and never written to, where their columns are known."""
        time_field = pa.field(TIME, pa.int64(), nullable=False)
        for topic in self._topics.values():
            kind = row_type(topic.tag)
            if topic.state is None and kind is not None:
                self._declare(topic, pa.schema([time_field, *kind]))

    def _reason_to_keep(self) -> str | None:
        cut = [topic.name for topic in self._topics.values() if topic.cut]
        if cut and not self.reports:
            words = f"the stream of topic {cut[0]!r} was cut before its client ended it"
            self._tell(words, cut[0])
            return words
        return self.reports[0] if self.reports else None

    def _keep(self, reason: str) -> None:
        """Keep all that the disk takes, with the reason where a person finds it."""
        told = True
        try:
            self.recording.close({"outcome": str(Outcome.FAILED), "cause": reason})
        except GaplessError:  # the disk takes no more rows: the words go beside the journal
            told = False
        self.recording.keep(reason, told=told)

    def discard(self, reason: str) -> None:
        """Move the session to the trash, with a tombstone."""
        with self._active():
            self.ended = True
            states = {topic.name: topic.state for topic in self._topics.values() if topic.state is not None}
        ledgers = {name: self.recording.ledger(state) for name, state in states.items()}
        rows = {name: ledger.written for name, ledger in ledgers.items()}
        words = tombstone(self.recording.header, None, rows, sum(ledgers.values(), start=Ledger()))
        layer = None if self.is_base else self.identifier
        words |= {"name": self.sequence, "group": self.group, "layer": layer}
        try:
            self.recording.close({"outcome": str(Outcome.ABORTED), "cause": reason})
        finally:
            self.recording.release()
        self.recording.discard(words | {"outcome": None, "reason": reason})

    def let_go(self, idle_s: float = 0.0) -> None:
        """End without a commit: what was taken is durable, and the sequence is open without an owner.

        One that somebody has used within ``idle_s`` goes on.
        """
        with self._lock:
            if self.ended or self.idle_s() < idle_s:
                return
            self.ended = True
        self.recording.let_go()


class Incoming:
    """The way of one stream into its topic; used by the one thread that reads the stream."""

    def __init__(
        self, session: Session, topic: SessionTopic, shape: RowShape, lane: PackedLane | GeneralLane
    ) -> None:
        self._session = session
        self._topic = topic
        self._shape = shape
        self._lane = lane
        self.rows = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Hand rows over, waiting while the disk is behind; ValueRefused, RecordTooLarge take none of them."""
        if not batch.num_rows:
            return
        stored = self._shape.store(batch)
        if int(stored.column(0).to_numpy().min()) == _INT64_MIN:
            raise ValueRefused("a time is outside 64 bits", topic=self._topic.name, field=TIME)
        pieces = list(in_frames(stored))
        for piece in pieces:
            self._lane.hand_over.check_record(self._topic.name, piece.nbytes)
        for piece in pieces:
            self._lane.push_batch(piece)
        self.rows += batch.num_rows

    def end(self) -> None:
        """Return when every row taken is durable."""
        self._session.recording.flush()

    def cut(self) -> None:
        """Note that the stream ended without a word from its client."""
        self._topic.cut = True
