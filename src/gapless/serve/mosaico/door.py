"""The door of the Mosaico protocol 0.7: its actions, descriptors and tickets, on a store of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import flight

from gapless._version import __version__
from gapless.catalog.state_database import StateDatabase
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import NotFound, StateError, UsageError, WriteError
from gapless.serve.call import Call
from gapless.serve.door import Action, Door, Outgoing
from gapless.serve.mosaico import query
from gapless.serve.mosaico.clusters import clusters, overlaps
from gapless.serve.mosaico.deleting import Deleting
from gapless.serve.mosaico.description import LOCATOR, Window, describe
from gapless.serve.mosaico.locator import (
    check_new,
    parse,
    parse_sequence,
    parse_session,
    parse_topic,
)
from gapless.serve.mosaico.metadata_keys import check_keys
from gapless.serve.mosaico.notifications import Notifications
from gapless.serve.mosaico.outgoing import TARGET_BYTES, rows_of
from gapless.serve.mosaico.request import Request, envelope
from gapless.serve.mosaico.row_shape import leaving
from gapless.serve.mosaico.sessions import Sessions
from gapless.serve.rights import Right
from gapless.serve.served import Served

if TYPE_CHECKING:
    from gapless.serve.mosaico.session import Session, SessionTopic

PROTOCOL: Final = (0, 7, 0)
_LAYOUTS: Final = ("default", "ragged", "image")
_MOST_TOPICS: Final = 128  # read at one time; each has a batch of rows in memory
_Handle = Callable[[Call, Request], Iterable[bytes]]


class Mosaico(Door):
    """Answers an unmodified ``mosaicolabs`` 0.7.0 client. Bad input is ``pyarrow.ArrowInvalid`` there."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._client = served.client
        self._sessions = Sessions(served)
        self._deleting = Deleting(served.client, self._sessions)
        self._database = StateDatabase(served.root)
        self._notifications = Notifications(self._database)

    def actions(self) -> Mapping[str, Action]:
        """Return the actions of the protocol."""
        handles: dict[str, _Handle] = {
            "info": self._info,
            "sequence_create": self._sequence_create,
            "sequence_delete": self._sequence_delete,
            "session_create": self._session_create,
            "session_finalize": self._session_finalize,
            "session_delete": self._session_delete,
            "topic_create": self._topic_create,
            "topic_delete": self._topic_delete,
            "sequence_notification_create": self._sequence_notification_create,
            "sequence_notification_list": self._sequence_notification_list,
            "sequence_notification_purge": self._sequence_notification_purge,
            "topic_notification_create": self._topic_notification_create,
            "topic_notification_list": self._topic_notification_list,
            "topic_notification_purge": self._topic_notification_purge,
            "query": self._query,
            "topic_filter_clusterize": self._clusterize,
            "topic_filter_intersect": self._intersect,
        }
        return {name: _action(name, handle) for name, handle in handles.items()}

    def takes(self, command: Mapping[str, Any]) -> bool:
        """Tell whether a command or ticket names a resource."""
        return LOCATOR in command

    def stop(self, deadline_s: float) -> None:  # noqa: ARG002 - each part of it has its own bound
        """Let go of every session; none is committed."""
        self._sessions.stop()
        self._database.close()

    # -- writing -------------------------------------------------------------------------------

    def _info(self, call: Call, request: Request) -> Iterable[bytes]:  # noqa: ARG002
        """Tell the version and the sizes of messages."""
        major, minor, patch = PROTOCOL
        config = {
            "grpc_max_decode_message_size": self._served.limits.max_batch_bytes,
            "grpc_max_encode_message_size": self._served.limits.max_batch_bytes,
            "grpc_target_encode_message_size": TARGET_BYTES,
        }
        semver = {"major": major, "minor": minor, "patch": patch, "pre": f"gapless-{__version__}"}
        version = f"{major}.{minor}.{patch}-gapless-{__version__}"
        return [envelope("info", {"version": version, "semver": semver, "config": config})]

    def _sequence_create(self, call: Call, request: Request) -> Iterable[bytes]:
        """Begin a new sequence with its metadata."""
        name = parse_sequence(request.text("locator"))
        check_new(name)
        metadata = check_keys(request.members("user_metadata"))
        with call.audited("write", name):
            self._sessions.create_sequence(call, name, metadata)
        return ()

    def _session_create(self, call: Call, request: Request) -> Iterable[bytes]:
        """Open a session: the first of a new sequence, or a later one of a sealed sequence."""
        name = parse_sequence(request.text("locator"))
        with call.audited("write", f"{name}: a session"):
            session = self._sessions.create(call, name)
        return [envelope("session_create", {"uuid": session.uuid, "locator": session.locator})]

    def _topic_create(self, call: Call, request: Request) -> Iterable[bytes]:
        """Add a topic to a session."""
        session = self._session(call, request)
        sequence, name = parse_topic(request.text("locator"))
        if sequence != session.sequence:
            raise pa.ArrowInvalid(
                f"topic_create: the session is one of {session.sequence!r}, not {sequence!r}"
            )
        check_new(sequence, name)
        layout = request.text("serialization_format")
        if layout not in _LAYOUTS:
            raise request.bad("serialization_format", layout, f"one of {', '.join(_LAYOUTS)}")
        metadata = check_keys(request.members("user_metadata"))
        topic = self._sessions.add_topic(session, name, request.text("ontology_tag"), layout, metadata)
        return [envelope("topic_create", {"uuid": topic.uuid})]

    def _session_finalize(self, call: Call, request: Request) -> Iterable[bytes]:
        """Commit a session: from here on it never changes."""
        session = self._session(call, request)
        with call.audited("write", session.locator):
            self._sessions.finalize(session)
        return ()

    def _session(self, call: Call, request: Request) -> Session:
        session = self._sessions.find(request.text("session_uuid"))
        call.reach(Right.WRITE, session.sequence, session.group)
        return session

    def put(
        self,
        call: Call,
        command: Mapping[str, Any],
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,  # noqa: ARG002 - the SDK reads nothing back
    ) -> None:
        """Take the rows of a topic until its client ends the stream; what was taken is durable then."""
        with _bad_input():
            request = Request("an upload", command)
            session, topic = self._sessions.find_topic(request.text("topic_uuid"))
            call.reach(Right.WRITE, session.sequence, session.group)
            if parse_topic(request.text(LOCATOR)) != (session.sequence, topic.name):
                raise pa.ArrowInvalid("an upload: the uuid is another topic's")
            self._take(call, session, topic, reader)

    def _take(
        self,
        call: Call,
        session: Session,
        topic: SessionTopic,
        reader: flight.MetadataRecordBatchReader,
    ) -> None:
        with session.stream(topic, reader.schema) as incoming:
            try:
                for chunk in reader:
                    if chunk.data is not None:
                        self._served.limits.check_batch(
                            chunk.data, sequence=session.sequence, topic=topic.name
                        )
                        incoming.take(chunk.data)
            except BaseException:
                incoming.cut()
                raise
            if call.cancelled():  # a client that died ends its stream like one that is done
                incoming.cut()
            incoming.end()
        self._served.metrics.add("gapless_mosaico_rows_total", incoming.rows)

    # -- deleting ------------------------------------------------------------------------------

    def _sequence_delete(self, call: Call, request: Request) -> Iterable[bytes]:
        """Move a sequence to the trash."""
        self._deleting.sequence(call, parse_sequence(request.text("locator")))
        return ()

    def _session_delete(self, call: Call, request: Request) -> Iterable[bytes]:
        """Move a session to the trash."""
        self._deleting.session(call, *parse_session(request.text("locator")))
        return ()

    def _topic_delete(self, call: Call, request: Request) -> Iterable[bytes]:
        """Take back a topic that has not been written to."""
        sequence, name = parse_topic(request.text("locator"))
        self._sessions.reach(call, Right.WRITE, sequence)
        for session in self._sessions.of(sequence):
            if session.has_topic(name):
                if session.key_id != call.key_id:
                    call.require(Right.DELETE, session.group)
                with call.audited("delete", f"{sequence}/{name}"):
                    session.forget_topic(name)
                return ()
        self._topic(call, sequence, name)
        raise StateError(
            "a topic of a sequence is not deleted alone",
            sequence=sequence,
            topic=name,
            next_step="delete its session or the sequence",
        )

    # -- notifications -------------------------------------------------------------------------

    def _sequence_notification_create(self, call: Call, request: Request) -> Iterable[bytes]:
        """Report that something went wrong; an open session of the caller is kept then, not committed."""
        name = parse_sequence(request.text("locator"))
        self._sessions.reach(call, Right.WRITE, name)
        message = request.text("msg")
        sessions = self._sessions.of(name)
        for session in [s for s in sessions if s.locator in message] or sessions:
            if session.key_id == call.key_id or call.may(Right.MANAGE, session.group):
                session.report(message)
            else:  # a person's own commit does not depend on what others say
                session.notify(message)
        if not sessions:
            handler = self._sequence(call, name)
            with call.audited("write", f"a notification of {name}"):
                self._notifications.add(handler, "", message)
        return ()

    def _topic_notification_create(self, call: Call, request: Request) -> Iterable[bytes]:
        """Report that something went wrong with a topic."""
        sequence, name = parse_topic(request.text("locator"))
        self._sessions.reach(call, Right.WRITE, sequence)
        message = request.text("msg")
        for session in self._sessions.of(sequence):
            if session.has_topic(name):
                session.notify(message, name)
                return ()
        handler = self._topic(call, sequence, name)
        with call.audited("write", f"a notification of {sequence}/{name}"):
            self._notifications.add(handler, name, message)
        return ()

    def _sequence_notification_list(self, call: Call, request: Request) -> Iterable[bytes]:
        """List what was reported of a sequence."""
        handler = self._sequence(call, parse_sequence(request.text("locator")))
        found = self._notifications.listed(handler, "")
        return [envelope("sequence_notification_list", {"notifications": found})]

    def _topic_notification_list(self, call: Call, request: Request) -> Iterable[bytes]:
        """List what was reported of a topic."""
        sequence, name = parse_topic(request.text("locator"))
        found = self._notifications.listed(self._topic(call, sequence, name), name)
        return [envelope("topic_notification_list", {"notifications": found})]

    def _sequence_notification_purge(self, call: Call, request: Request) -> Iterable[bytes]:
        """Show the notifications of a sequence no more."""
        return self._purge(call, parse_sequence(request.text("locator")), "")

    def _topic_notification_purge(self, call: Call, request: Request) -> Iterable[bytes]:
        """Show the notifications of a topic no more."""
        return self._purge(call, *parse_topic(request.text("locator")))

    def _purge(self, call: Call, sequence: str, topic: str) -> Iterable[bytes]:
        handler = self._topic(call, sequence, topic) if topic else self._sequence(call, sequence)
        call.require(Right.DELETE, handler.group)
        with call.audited("delete", f"notifications of {sequence}/{topic}".rstrip("/")):
            self._notifications.purge(handler, topic)
        return ()

    # -- finding -------------------------------------------------------------------------------

    def _query(self, call: Call, request: Request) -> Iterable[bytes]:
        """Find sequences and topics by metadata, names and rows."""
        call.require(Right.READ)
        return [envelope("query", query.answer(self._client, call, request.document))]

    def _clusterize(self, call: Call, request: Request) -> Iterable[bytes]:
        """Return the times of a topic's rows that satisfy conditions, one answer for each cluster."""
        window = Request("timestamp_range", request.members("timestamp_range"))
        spans = self._clusters(call, request, window.whole("start_ns"), window.whole("end_ns"))
        return _pages("topic_filter_clusterize", spans)

    def _intersect(self, call: Call, request: Request) -> Iterable[bytes]:
        """Return the times at which the conditions of several topics hold together."""
        topics = request.objects("topics")
        if not 2 <= len(topics) <= _MOST_TOPICS:
            raise request.bad("topics", len(topics), f"from 2 to {_MOST_TOPICS} topics")
        tolerance_ns = request.nanoseconds("intersect_dt_ns")
        spans = overlaps([self._clusters(call, topic) for topic in topics], tolerance_ns)
        return _pages("topic_filter_intersect", spans)

    def _clusters(
        self, call: Call, request: Request, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[int, int]]:
        sequence, name = parse_topic(request.text("locator"))
        reader = self._topic(call, sequence, name).reader.topic(name)
        gap_ns = request.nanoseconds("clustering_dt_ns")
        return clusters(reader, request.members("ontology"), gap_ns, call.cancelled, start_ns, end_ns)

    def flights(self, call: Call, criteria: bytes) -> Iterable[flight.FlightInfo]:  # noqa: ARG002
        """Yield every sequence that the caller sees by its name."""
        call.require(Right.READ)
        for name in query.names(self._client, call):
            descriptor = flight.FlightDescriptor.for_path(name.encode())
            yield flight.FlightInfo(pa.schema([]), descriptor, [])

    # -- reading -------------------------------------------------------------------------------

    def flight_info(
        self, call: Call, command: Mapping[str, Any], descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """Describe a sequence or a topic, in a time window if one is given."""
        with _bad_input():
            place = parse(Request("flight information", command).text(LOCATOR))
            window = Window.of(command)
            handler = self._sequence(call, place.sequence)
            return describe(handler, place.topic, window, descriptor, call.cancelled)

    def schema(self, call: Call, command: Mapping[str, Any]) -> pa.Schema:
        """Return the columns of a topic as the SDK reads them."""
        with _bad_input():
            sequence, name = parse_topic(Request("a schema", command).text(LOCATOR))
            return leaving(self._topic(call, sequence, name).reader.topic(name)).travelling

    def get(self, call: Call, ticket: Mapping[str, Any]) -> Outgoing:
        """Send the rows of a topic in order of time."""
        with _bad_input():
            sequence, name = parse_topic(Request("a ticket", ticket).text(LOCATOR))
            window = Window.of(ticket)
            reader = self._topic(call, sequence, name).reader.topic(name)
            return rows_of(reader, window, call.cancelled)

    def _sequence(self, call: Call, name: str) -> SequenceHandler:
        """Return the reader of a sequence that the caller may read; NotFound for any other."""
        self._sessions.reach(call, Right.READ, name)
        return self._client.sequence_handler(name)

    def _topic(self, call: Call, sequence: str, name: str) -> SequenceHandler:
        """Return the reader of the sequence of a topic; NotFound without the topic."""
        handler = self._sequence(call, sequence)
        if name not in handler.topics:
            raise NotFound("there is no such topic", sequence=sequence, topic=name)
        return handler


def _action(name: str, handle: _Handle) -> Action:
    def act(call: Call, body: bytes) -> Iterable[bytes]:
        with _bad_input():
            answers = iter(handle(call, Request.of(name, body)))
            first = list(islice(answers, 1))  # what an action took is counted until its answer begins
        return _sent(chain(first, answers))

    act.__doc__ = handle.__doc__
    return act


def _sent(answers: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bodies of an answer, those that are made on the way under the same rules as the first."""
    with _bad_input():
        yield from answers


@contextmanager
def _bad_input() -> Iterator[None]:
    """Turn what is wrong with a request into the error class that the SDK knows for it."""
    try:
        yield
    except (UsageError, WriteError) as error:
        raise pa.ArrowInvalid(str(error)) from error


def _pages(action: str, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for number, (start_ns, end_ns) in enumerate(spans):
        yield envelope(action, {"id": number, "ts": {"start_ns": start_ns, "end_ns": end_ns}})
