"""Writing one sequence: the object that ``sequence_create`` returns."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import pyarrow as pa

from gapless.client.ending import describe, learned_metadata, storable, tombstone
from gapless.client.logged import check_unit, logged_schema, logged_values
from gapless.client.media_writer import EncoderThreads, MediaTopicWriter, media_of, stored_type
from gapless.client.quarantine import Quarantined
from gapless.client.recording import Recording
from gapless.client.reserved_rows import ReservedRows
from gapless.client.topic_writer import TopicWriter
from gapless.errors import (
    GaplessError,
    MetadataRefused,
    NameTaken,
    NotFound,
    RecordingFailed,
    SchemaRefused,
    UsageError,
    WriterClosed,
)
from gapless.model.ledger import Ledger
from gapless.model.metadata import check_metadata
from gapless.model.names import check_topic_name, fold
from gapless.model.outcome import OnErrorPolicy, Outcome, TopicErrorPolicy, choice
from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.handover import OverflowPolicy
from gapless.store.media.encoder_thread import MAX_PENDING
from gapless.store.media.rows import Media
from gapless.store.writer import Progress, TopicState

if TYPE_CHECKING:
    from gapless.client.client import Client

_FIRST_INDEX = 16  # below are the reserved topics
_LIVE: weakref.WeakSet[SequenceWriter] = weakref.WeakSet()


class SequenceWriter:
    """Records one sequence inside a with-block.

    Leaving the block seals the sequence as completed. An exception leaves it as ``on_error`` says; Ctrl-C
    and SystemExit seal it as aborted; a process that dies leaves it recoverable. Nothing is ever deleted
    but by the policy Delete, and that only moves it to the trash.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        header: dict[str, Any],
        begin: Callable[[], Recording],
        *,
        on_error: OnErrorPolicy,
        deadline_s: float,
        base_topics: Mapping[str, tuple[str, pa.Schema]] | None = None,
        known: Callable[[], Iterable[TopicState]] = tuple,
    ) -> None:
        self._client = client
        self.name = name
        self.on_error = on_error
        self._begin = begin  # called when the block is entered
        self._known = known  # the topics that are there then
        self._header = header
        self.deadline_s = deadline_s
        self._base_topics = {} if base_topics is None else base_topics  # folded name -> name and schema
        self._running: Recording | None = None
        self._ended = False
        self._topics: dict[str, TopicWriter] = {}
        self._folded: dict[str, str] = {}
        self._logged: dict[tuple[int, str], tuple[TopicWriter, tuple[str, ...] | None]] = {}
        self._lock = threading.RLock()
        self._reserved = ReservedRows(self._check_active)
        self._next_index = _FIRST_INDEX
        self._encoders = EncoderThreads()
        self._manifest: dict[str, Any] | None = None

    # -- the block -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._running is not None or self._ended:
            raise UsageError("a sequence writer can be entered once", sequence=self.name)
        self._running = self._begin()
        self._client._opened(self)
        _LIVE.add(self)
        for state in self._known():
            self._take_up(state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is None or self._running.closed:
            return
        try:
            self._end(error)
        except BaseException as problem:
            if error is None or not isinstance(problem, Exception):
                raise
            # whatever went wrong here, the user's own exception is the one that goes on
            error.add_note(
                f"gapless could not end sequence {self.name!r} as its policy says: {describe(problem)}"
            )
        finally:
            self._ended = True
            self._client._closed(self)
            self._release(error)

    def _release(self, error: BaseException | None) -> None:
        assert self._running is not None
        try:
            self._running.release()
        except GaplessError as problem:
            if error is None:
                raise
            error.add_note(f"gapless could not let go of sequence {self.name!r}: {problem}")
        except Warning as told:  # where the program takes warnings for errors: everything was let go of
            if error is None:
                raise
            error.add_note(str(told))

    def _end(self, error: BaseException | None) -> None:
        writer = self._writer_or_raise()
        unencoded = self._encoders.close(self.deadline_s)
        if error is not None and unencoded is not None:
            error.add_note(f"an encoder failed as well: {unencoded}")
        if error is None:
            try:
                if unencoded is not None:
                    raise unencoded
                self._close(Outcome.COMPLETED, None)
            except RecordingFailed as failure:
                self._keep_or_delete(failure)
                raise
            self._seal()
        elif isinstance(error, Exception):
            self._keep_or_delete(error)
        else:
            if writer.failure is not None:
                self._keep(error)
                return
            self._close(Outcome.ABORTED, describe(error))
            self._seal()

    def end(
        self, outcome: Outcome, cause: str | None = None, *, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Seal the sequence now with this outcome; leaving the block afterwards does nothing more.

        For a recorder that knows how its run ended. ``metadata``: what only the end could tell, under keys that
        were not given at creation. Raises as leaving the block does; what was recorded then stays recoverable.
        """
        learned = learned_metadata(self.name, self._header["metadata"], metadata)
        self._check_active()
        unencoded = self._encoders.close(self.deadline_s)
        try:
            self._close(outcome, cause, learned)
            self._seal()
        finally:
            self._ended = True
            self._client._closed(self)
            self._writer.release()
        if unencoded is not None:
            raise unencoded

    def discard(self, reason: str) -> None:
        """End the sequence now and move it to the trash, leaving a tombstone with ledger and reason.

        Leaving the block afterwards does nothing more.
        """
        writer, reason = self._check_active(), storable(reason)
        self._encoders.close(self.deadline_s)  # a failed encoder is no matter any more
        rows = {name: topic.ledger.written for name, topic in self._topics.items()}
        words = tombstone(self._header, None, rows, self._ledger()) | {"outcome": None, "reason": reason}
        try:
            self._close(Outcome.ABORTED, reason)
            writer.discard(words)  # while it is owned: nobody else ends it before
        finally:
            self._ended = True
            self._client._closed(self)
            writer.release()

    def _close(self, outcome: Outcome, cause: str | None, learned: dict[str, Any] | None = None) -> None:
        words = None if cause is None else storable(cause)
        self._writer_or_raise().close({"outcome": str(outcome), "cause": words} | (learned or {}))

    def _seal(self) -> None:
        self._manifest = self._writer_or_raise().seal()

    def _keep_or_delete(self, error: BaseException) -> None:
        if self.on_error is OnErrorPolicy.Delete:
            self._delete(error)
        else:
            self._keep(error)

    def _delete(self, error: BaseException) -> None:
        writer = self._writer_or_raise()
        text = describe(error)
        rows = {name: topic.ledger.written for name, topic in self._topics.items()}
        words = tombstone(self._header, text, rows, self._ledger())
        if writer.failure is None:
            self._close(Outcome.FAILED, text)
        writer.discard(words)

    def _keep(self, error: BaseException) -> None:
        """Keep all that the disk takes as pending, with the error as a notification."""
        writer = self._writer_or_raise()
        text = describe(error)
        told = False
        try:
            self.notify(text)
            told = True
            self._close(Outcome.FAILED, text)
        except GaplessError as problem:  # the disk takes no more rows: the words go beside the journal
            error.add_note(f"gapless could not write the last rows of sequence {self.name!r}: {problem}")
        writer.keep(text, told=told)

    def _writer_or_raise(self) -> Recording:
        if self._running is None:
            raise UsageError(
                "a sequence writer must be used inside a with-block",
                sequence=self.name,
                next_step="write `with client.sequence_create(...) as seq:`",
            )
        return self._running

    @property
    def _writer(self) -> Recording:
        return self._writer_or_raise()

    def _check_active(self) -> Recording:
        writer = self._writer_or_raise()
        if writer.failure is not None:
            raise writer.failure
        if writer.closed or self._ended:
            raise WriterClosed("the sequence is closed", sequence=self.name)
        return writer

    # -- topics --------------------------------------------------------------------------------

    @overload
    def topic_create(
        self,
        topic_name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        ontology_type: Any,
        on_error: TopicErrorPolicy = TopicErrorPolicy.Raise,
        on_full: OverflowPolicy | str = OverflowPolicy.BLOCK,
        producer_seq: bool = False,
        media: Media | Literal["png", "mp4", "ffv1"],
        max_pending_frames: int = MAX_PENDING,
        max_unwritten_frames: int | None = None,
    ) -> MediaTopicWriter: ...

    @overload
    def topic_create(
        self,
        topic_name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        ontology_type: Any = None,
        schema: pa.Schema | None = None,
        on_error: TopicErrorPolicy = TopicErrorPolicy.Raise,
        on_full: OverflowPolicy | str = OverflowPolicy.BLOCK,
        producer_seq: bool = False,
        media: str | None = None,
    ) -> TopicWriter: ...

    def topic_create(
        self,
        topic_name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        ontology_type: Any = None,
        schema: pa.Schema | None = None,
        on_error: TopicErrorPolicy = TopicErrorPolicy.Raise,
        on_full: OverflowPolicy | str = OverflowPolicy.BLOCK,
        producer_seq: bool = False,
        media: Media | str | None = None,
        max_pending_frames: int = MAX_PENDING,
        max_unwritten_frames: int | None = None,
    ) -> TopicWriter:
        """Add a topic and return its writer, which belongs to the thread that pushes first.

        Either ``ontology_type`` (a class) or ``schema`` (any Arrow schema; the time column may be left
        out) says what a row is. ``producer_seq``: the producer numbers its messages and holes become
        gaps. ``on_full``: what happens when the disk falls behind by more than max_unsynced_bytes.
        ``media``: "png", "mp4" or "ffv1" encodes an Image topic on a thread of its own; returns a MediaTopicWriter,
        for which ``on_full`` speaks of ``max_pending_frames`` pictures that wait for the encoder, and, where it is
        given, of ``max_unwritten_frames`` that are not in a file yet: what a killed process loses at most.
        Raises NameTaken, NameRefused, SchemaRefused, OntologyConflict, MetadataRefused, MissingExtra.
        """
        self._check_active()
        name = check_topic_name(topic_name)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise MetadataRefused(
                "metadata is a mapping", sequence=self.name, topic=name, found=repr(metadata)
            )
        checked = check_metadata(dict(metadata or {}), sequence=self.name, topic=name)
        policy = choice(TopicErrorPolicy, on_error, "on_error")
        overflow = choice(OverflowPolicy, on_full, "on_full")
        where = {"sequence": self.name, "topic": name}
        if schema is not None and not isinstance(schema, pa.Schema):
            raise SchemaRefused("a schema is a pyarrow.Schema", **where, found=repr(schema))
        if (ontology_type is None) == (schema is None):
            raise SchemaRefused("give a topic either ontology_type or schema", **where)
        if ontology_type is not None:
            self._client.registry.register(ontology_type)
            described = {
                "tag": ontology_type.tag,
                "version": ontology_type.version,
                "fingerprint": ontology_type.fingerprint(),
            }
            schema = ontology_type.schema()
        else:
            described = {"tag": None, "version": 1, "fingerprint": ""}
        if media is None and overflow is OverflowPolicy.REPEAT:
            raise UsageError("only pictures of a media topic can be repeated", **where, field="on_full")
        if media is not None:
            media = media_of(media, ontology_type, name)
            described, schema = stored_type(media)
        schema = check_schema(schema, name)
        self._check_base(name, schema)
        with self._lock:
            self._claim(name)
            declaration = TopicDeclaration(self._next_index, name, schema, described, checked, producer_seq)
            self._next_index += 1
            if media is None:
                topic = TopicWriter(self, self._writer.declare(declaration, overflow), ontology_type, policy)
            else:
                state = self._writer.declare(
                    declaration
                )  # the queue of pictures overflows, never encoded ones
                topic = self._encoders.start(
                    self,
                    state,
                    policy,
                    Media(media),
                    on_full=overflow,
                    max_pending=max_pending_frames,
                    max_unwritten=max_unwritten_frames,
                )
            self._topics[name] = topic
        return topic

    def _take_up(self, state: TopicState) -> None:
        """Make the writer of a topic that an earlier owner created; the reserved ones are taken up at first use."""
        declaration = state.declaration
        if declaration.index >= _FIRST_INDEX:
            self._claim(declaration.name)
            self._next_index = max(self._next_index, declaration.index + 1)
            self._topics[declaration.name] = TopicWriter(self, state, None, TopicErrorPolicy.Raise)

    def _check_base(self, name: str, schema: pa.Schema) -> None:
        """In a layer: a topic that the base has must have the same name and columns, or none could be read."""
        known = self._base_topics.get(fold(name))
        if known is None:
            return
        base_name, base_schema = known
        if base_name != name:
            raise NameTaken(
                "the base has a topic of that name", sequence=self.name, topic=name, found=base_name
            )
        if not base_schema.equals(schema):
            raise SchemaRefused(
                "the base has the topic with other columns",
                sequence=self.name,
                topic=name,
                found=str(schema),
                expected=str(base_schema),
                next_step="give the layer's topic the base's columns, or another name",
            )

    def _claim(self, name: str) -> None:
        if fold(name) in self._folded:
            raise NameTaken(
                "the sequence has a topic of that name",
                sequence=self.name,
                topic=name,
                found=self._folded[fold(name)],
            )
        self._folded[fold(name)] = name

    def get_topic_writer(self, topic_name: str) -> TopicWriter:
        """Return the writer of a topic, or raise NotFound."""
        self._writer_or_raise()
        try:
            return self._topics[topic_name]
        except KeyError:
            raise NotFound(
                "the sequence has no topic of that name",
                sequence=self.name,
                topic=topic_name,
                expected=", ".join(self._topics) or "none yet",
            ) from None

    def topic_writer_exists(self, topic_name: str) -> bool:
        """Tell whether the topic was created in this block."""
        self._writer_or_raise()
        return topic_name in self._topics

    def list_topic_writers(self) -> list[str]:
        """Return the names of the topics created so far."""
        self._writer_or_raise()
        return list(self._topics)

    def log(
        self, topic_name: str, value: Any, *, unit: str | None = None, timestamp_ns: int | None = None
    ) -> None:
        """Record one value, making the topic on first use; usable from any thread.

        A number is stored as float64, a bool as bool, text as text, an array as a list of float64, and a
        mapping as one column for each key. Without a time the sequence's clock stamps it. The first value
        decides the topic's type.
        """
        key = (threading.get_ident(), topic_name)
        found = self._logged.get(key)
        if found is None:
            found = self._log_topic(topic_name, value, unit)
            self._logged[key] = found
        topic, names = found
        if unit is not None:
            check_unit(topic.schema, unit, self.name, topic_name)
        topic.push_row(timestamp_ns, *logged_values(value, names, self.name, topic_name))

    def _log_topic(
        self, name: str, value: Any, unit: str | None
    ) -> tuple[TopicWriter, tuple[str, ...] | None]:
        with self._lock:
            topic = self._topics.get(name)
            if topic is None:
                base = self._base_topics.get(fold(name))
                schema = base[1] if base is not None else logged_schema(value, unit, self.name, name)
                topic = self.topic_create(name, schema=schema)
            else:
                topic = topic.lane()
        names = topic.schema.names[1:]
        return topic, (tuple(names) if isinstance(value, Mapping) else None)

    # -- the sequence's own rows ---------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the sequence's clock: nanoseconds since 1970 that never step while the sequence is open."""
        return self._check_active().now_ns()

    @property
    def clock_base_ns(self) -> int:
        """What :meth:`now_ns` adds to the boot-time clock; holds after the sequence has ended too."""
        clock = self._header["clock"]
        return int(clock["wall_ns"]) - int(clock["boot_ns"])

    def flush(self, timeout_s: float | None = None, *, encoders: bool = True) -> None:
        """Return when everything pushed before the call, in any topic and thread, is durable.

        ``encoders=False`` leaves out pictures that still wait for their encoder.
        """
        limit_s = self.deadline_s if timeout_s is None else timeout_s
        give_up = time.monotonic() + limit_s
        writer = self._check_active()
        unencoded = self._encoders.drain(limit_s) if encoders else None
        writer.flush(max(0.0, give_up - time.monotonic()))
        if unencoded is not None:
            raise unencoded

    def event(
        self,
        severity: str,
        kind: str,
        message: str,
        *,
        source: str = "",
        data: Any = None,
        timestamp_ns: int | None = None,
        durable: bool = True,
    ) -> None:
        """Record a rare fact in ``_events``; durable when the call returns. Usable from any thread.

        ``durable=False`` returns without the sync, for a caller that records several and then flushes.
        """
        self._reserved.push_event(self.name, timestamp_ns, severity, kind, message, source, data)
        if durable:
            self._reserved.flush("_events")

    def notify(self, message: str, *, topic: str = "", severity: str = "error") -> None:
        """Record a notification: an event that ``sequence_handler(name).notifications()`` lists."""
        self.event(severity, "notification", message, source=topic)

    def _quarantine(self, topic: str, kept: Quarantined) -> None:
        self._reserved.push("_quarantine", kept.timestamp_ns, topic, kept.reason, kept.code, kept.to_bytes())

    def add_artifact(
        self,
        path_or_uri: str | os.PathLike[str],
        name: str | None = None,
        media_type: str = "application/octet-stream",
    ) -> str:
        """Copy a file into the sequence, or note an external one by URI; durable when the call returns.

        Returns the artifact's name (default: the file's). Raises NotFound, NameTaken, NameRefused.
        """
        with self._lock:
            return self._check_active().add_artifact(path_or_uri, name, media_type)

    def growing_artifact(self, name: str, media_type: str = "application/octet-stream") -> Path:
        """Return a path inside the bundle for a file that another program writes while this recording lasts.

        Noted durably when the call returns; the seal, or recovery, adds the file's size and digest.
        Raises NameTaken, NameRefused.
        """
        with self._lock:
            return self._check_active().grow_artifact(name, media_type)

    @property
    def progress(self) -> Progress:
        """How far the disk is behind, told without waiting. Usable from any thread."""
        return self._writer.progress()

    def describe_hops(self, describe: Callable[[], str | None]) -> None:
        """Let ``describe()`` give the JSON text that each row of ``_health`` keeps in ``hops``.

        It is called on the writer's thread every 10 s and must not wait.
        """
        self._writer.describe_hops(describe)

    def announce(self, words: dict[str, Any]) -> None:
        """Write JSON words into the lock file, for other processes that look for this recorder."""
        self._check_active().announce(words)

    @property
    def ledger(self) -> Ledger:
        """What became of every message offered so far, over all topics."""
        self._writer_or_raise()
        return self._ledger()

    def _ledger(self) -> Ledger:
        total = Ledger()
        for topic in self._topics.values():
            total += topic.ledger
        return total

    @property
    def content_digest(self) -> str | None:
        """The sequence's identity once it is sealed."""
        digest = None if self._manifest is None else self._manifest["content_digest"]
        return None if digest is None else str(digest)

    @property
    def path(self) -> Path | None:
        """The bundle's folder once the block was entered; None where it is on another machine."""
        return None if self._running is None else self._running.path

    def __repr__(self) -> str:
        running = "open" if self._running else "not entered"
        state = "sealed" if self.content_digest else "ended" if self._ended else running
        return f"<SequenceWriter {self.name!r}: {state}, {len(self._topics)} topics>"


def _after_fork_in_child() -> None:
    for sequence in list(_LIVE):
        if sequence._running is not None and not sequence._running.closed:
            sequence._running.abandon_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
