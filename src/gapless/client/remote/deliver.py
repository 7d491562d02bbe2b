"""Delivering a spool: what was recorded while the server was away goes there, and ends there as it was meant to."""

from __future__ import annotations

import json
import shlex
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.deliver_notes import DAMAGED, SpooledNotes
from gapless.client.remote.deliver_place import Place, recorded_as, renamed
from gapless.client.remote.delivery_command import delivery_command
from gapless.client.remote.lane_parcel import PARCEL_BYTES, Parcel, RowsOnTheWay
from gapless.client.remote.lane_way import ServerWay, opening_words, place_words, topic_words
from gapless.client.remote.spool import (
    ACCEPTED,
    DAMAGED_WORD,
    Offered,
    SpoolStore,
    has_arrived,
    has_damage,
    name_in,
    name_there,
    note_arrival,
    note_damage,
    note_name,
    noted_name,
    noted_uid,
    offered,
    recorded_for,
    requested,
)
from gapless.errors import (
    DeliveryFailed,
    GaplessError,
    NameTaken,
    NotFound,
    ServingFailed,
    StateError,
    StorageFailed,
    Unreachable,
)
from gapless.model.outcome import Outcome
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import Damage, Frame, Kind, read_payload, scan
from gapless.store.handover import OverflowPolicy
from gapless.store.health import HEALTH_INDEX
from gapless.store.layout import Bundle, segment_name
from gapless.store.packing import Layout
from gapless.store.recover import read_header, segment_paths
from gapless.store.topic_sealer import CLOCK_USED
from gapless.store.watermark import read_watermark

_SEAL_S = 600.0
_TRIES = 5
_ROWS = (Kind.PACKED, Kind.ARROW, Kind.DROP)
_DIED = "the recorder died before it ended the sequence; delivered from its spool"


@dataclass(slots=True)
class Delivered:
    """One sequence that is on the server now: how it ended there, and the rows that the spool had, by topic.

    ``ending`` is ``end``, ``keep`` or ``discard``.
    """

    name: str
    ending: str
    outcome: str | None
    content_digest: str | None
    rows: dict[str, int]
    recorded_as: str  # its name here; another than ``name`` where that was taken on the server
    layer_of: str | None = None  # the sequence that it is a layer of there

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Topic:
    """One topic on its way from the spool: knows which row comes next on the server's side.

    ``elsewhere``: so many of its first rows are in another sequence of the server. All arrival numbers here are
    the spool's; where the rows go the first one behind those has the number 0.
    """

    def __init__(
        self,
        declaration: TopicDeclaration,
        pool: ConnectionPool,
        place: Place,
        timeout_s: float,
        on_loss: Callable[[], None],
        most_bytes: int,
    ) -> None:
        self.declaration = declaration
        self.layout = Layout.of(declaration)
        self.elsewhere = place.rows.get(declaration.name, 0)
        self.end_seq = 0
        self.rows = 0
        self.accepted_seq = self.elsewhere
        self._on_loss = on_loss
        self._most_bytes = most_bytes
        self.way = ServerWay(
            pool,
            topic_words(place.header, declaration.name),
            RowsOnTheWay(declaration, None).schema,
            timeout_s=timeout_s,
            on_accepted=self._accept,
            on_change=lambda: None,
        )

    def _accept(self, seq: int) -> None:
        self.accepted_seq = self.elsewhere + seq

    @property
    def next_seq(self) -> int:
        """The first row that the server does not have."""
        return self.elsewhere + self.way.next_seq

    def send(self, parcel: Parcel) -> None:
        """Send what the server does not have; a hole before it is told as rows that are lost."""
        self.fill(parcel.first_seq)
        self.end_seq = parcel.end_seq
        self.rows += parcel.rows if parcel.batch is not None else 0
        if parcel.end_seq > self.next_seq:
            for piece in parcel.after(self.next_seq).pieces(self._most_bytes):
                self.way.send(replace(piece, first_seq=piece.first_seq - self.elsewhere))

    def fill(self, seq: int) -> None:
        """Tell the rows below ``seq`` that were not sent as lost, unless the server has them."""
        rows = seq - self.end_seq
        if rows > 0:
            if seq > self.next_seq:
                self._on_loss()
            self.send(Parcel(self.end_seq, rows, cause=DAMAGED))


@dataclass
class Delivery:
    """The delivery of one bundle. Run once; the bundle is owned meanwhile and gone afterwards.

    ``other_name`` is what the sequence is called on the server if another recording has its name there, or if it
    was discarded there. It is noted before the server hears it, so that no attempt after it begins the sequence
    under a second name. What was sealed there without its end is left as it is: the rest becomes a layer of it.
    """

    store: SpoolStore
    bundle: Bundle
    pool: ConnectionPool
    timeout_s: float
    other_name: str | None = None
    _topics: dict[int, Topic] = field(default_factory=dict)
    _reach: dict[int, int] = field(default_factory=dict)  # of durable rows that are damaged, by topic
    _most_bytes: int = PARCEL_BYTES

    def run(self) -> Delivered:
        """Deliver everything, end the sequence on the server and move the local copy to the trash.

        Raises SequenceOwned while its recorder lives, Unreachable, what the server refuses, IntegrityError
        where nobody can tell its name there, and DeliveryFailed where the server has less than it accepted. On an
        error the spool is as it was, but for the name that the server may have heard.
        """
        with self.store.on_its_way(self.bundle):
            header = self._header()
            with self.pool.connection() as connection:
                done = self._deliver(connection, header)
            words = {"name": done.recorded_as, "delivered_to": self.pool.endpoint.url, "uid": header["uid"]}
            words["delivered_as"] = done.name
            words[DAMAGED_WORD] = has_damage(self.bundle)
            self.store.discard(self.bundle, words)
            return done

    def _header(self) -> dict[str, Any]:
        """Return the header as the server is told it: with the name there, and the uid."""
        header = read_header(self.bundle)
        return self._named(header, name_there(self.bundle, header))

    def _named(self, header: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the header under a name; one that was noted with a uid is of a sequence of its own."""
        uid = noted_uid(self.bundle)
        return renamed(header, name) | ({} if uid is None else {"uid": uid, "base": None})

    def _deliver(self, connection: Connection, header: dict[str, Any]) -> Delivered:
        limits = connection.action(protocol.INFO, timeout_s=self.timeout_s)["limits"]
        largest = int(limits["max_batch_bytes"])
        self._most_bytes = min(PARCEL_BYTES, largest - largest // 16)  # Arrow adds to a row
        request = requested(self.bundle)
        place, opened = self._place(connection, header, request)
        known = int(opened.get("notes", 0))
        notes = SpooledNotes(self.bundle, connection, place.header, known, self._note_damage, place.notes)
        if opened.get("state") == "open":
            self._send_all(connection, place, notes, offered(request))
            note_arrival(self.bundle, self.store.platform, place.uid)
        there = opened.get("topics", {})
        answer = self._end(connection, place, request, there, max(notes.sent, notes.known))
        base = place.header["base"]
        return Delivered(
            place.header["name"],
            "end" if request is None else str(request["action"]).rpartition(".")[2],
            answer.get("outcome"),
            answer.get("content_digest"),
            {t.declaration.name: t.rows for t in self._topics.values()},
            recorded_as(place.header),
            None if base is None else str(base["name"]),
        )

    # -- where it goes ---------------------------------------------------------------------------

    def _place(
        self, connection: Connection, header: dict[str, Any], request: dict[str, Any] | None
    ) -> tuple[Place, dict[str, Any]]:
        """Return where the rest goes, and what the server says of it: open, or ended as it is meant to end.

        Raises DeliveryFailed where it can go nowhere.
        """
        is_unwanted = request is not None and request["action"] == protocol.DISCARD
        opened = self._open(connection, header)
        if opened["state"] == "discarded" and self.other_name is not None:
            opened = self._open_as(connection, header, self.other_name, uuid.uuid4().hex)
        place = Place(header) if noted_uid(self.bundle) is None else Place.anew(header)
        while opened["state"] == "sealed" and not self._ends_so(connection, place, request, opened):
            place = place.behind(opened["topics"])
            opened = connection.action(protocol.OPEN, opening_words(place.header), timeout_s=_SEAL_S)
        if opened["state"] in ("open", "sealed") or (opened["state"] == "discarded" and is_unwanted):
            return place, opened
        if opened["state"] == "pending" and has_arrived(self.bundle, place.uid):
            return place, opened
        raise self._ended_elsewhere(place, str(opened["state"]))

    def _ends_so(
        self, connection: Connection, place: Place, request: dict[str, Any] | None, opened: dict[str, Any]
    ) -> bool:
        """Tell whether a sealed sequence has everything, and ended as it was to end."""
        if not has_arrived(self.bundle, place.uid):
            return False
        try:
            self._end(connection, place, request, opened["topics"], 0)
        except StateError:
            return False
        return True

    def _ended_elsewhere(self, place: Place, state: str) -> DeliveryFailed:
        """Return the refusal of what was ended on the server before all of it came, with the way out."""
        name = place.header["name"] if place.header["base"] is None else place.header["base"]["name"]
        advice = (
            f"seal it on the server with `gapless seal {shlex.quote(name)}`: the rest becomes a layer of it"
        )
        if state == "discarded":
            advice = self._anew()
        return DeliveryFailed(
            "the sequence was ended on the server before the spooled rows came",
            sequence=place.header["name"],
            found=state,
            expected="open, or sealed",
            next_step=f"the spool keeps them; {advice}",
        )

    def _anew(self) -> str:
        command = self._command("--rename", f"{name_in(self.bundle)}=NEW")
        return f"`{command}` delivers what is here as a sequence of its own"

    def _command(self, *words: str) -> str:
        """Return the command that delivers this once more."""
        url = self.pool.endpoint.url
        own = ("--own",) if recorded_for(self.bundle) == url else ()
        return delivery_command(self.store.root, url, *own, *words)

    def _open(self, connection: Connection, header: dict[str, Any]) -> dict[str, Any]:
        """Begin the sequence on the server, or take it up again; ``header`` learns another name if it has to.

        Raises NameTaken, which names the way out; a name that was refused is not noted then.
        """
        try:
            return connection.action(protocol.OPEN, opening_words(header), timeout_s=_SEAL_S)
        except NotFound as error:
            if header["base"] is None:
                raise
            if self.other_name is None:
                raise NotFound(
                    error.message,
                    sequence=error.sequence,
                    found=error.found,
                    next_step=f"the spool keeps the layer; {self._anew()}",
                ) from error
            return {"state": "discarded"}
        except NameTaken as error:
            name = self.other_name
            if name is None or name == header["name"] or _elsewhere(error) not in (None, name):
                raise self._taken(error) from error
        return self._open_as(connection, header, name, noted_uid(self.bundle))

    def _open_as(
        self, connection: Connection, header: dict[str, Any], name: str, uid: str | None
    ) -> dict[str, Any]:
        """Open the sequence under another name, which is noted before the server hears it."""
        earlier = noted_name(self.bundle, header), noted_uid(self.bundle)
        note_name(self.bundle, name, self.store.platform, uid)
        header.update(self._named(header, name))
        try:
            return connection.action(protocol.OPEN, opening_words(header), timeout_s=_SEAL_S)
        except NameTaken as error:
            note_name(self.bundle, earlier[0], self.store.platform, earlier[1])
            raise self._taken(error) from error

    def _taken(self, error: NameTaken) -> NameTaken:
        """Return the refusal with the way out: any new name, or the one that the server has it under already."""
        there = _elsewhere(error)
        command = self._command("--rename", f"{name_in(self.bundle)}={there or 'NEW'}")
        return NameTaken(
            error.message,
            sequence=error.sequence,
            found=error.found,
            expected=error.expected,
            next_step=f"`{command}` "
            + ("gives it another name" if there is None else "goes on with what the server has of it"),
        )

    def _end(
        self,
        connection: Connection,
        place: Place,
        request: dict[str, Any] | None,
        there: dict[str, Any],
        notes: int,
    ) -> dict[str, Any]:
        """Ask for the end that its recorder wished; for one that died the sequence ends as interrupted."""
        where = place_words(place.header)
        if request is None:
            words = self._interrupted(there, notes - place.notes)
            return connection.action(protocol.END, words | where, timeout_s=_SEAL_S)
        words = dict(request["request"])
        if place.is_apart and request["action"] == protocol.END:
            words |= place.offered(offered(request), self._names(), notes)
        return connection.action(request["action"], words | where, timeout_s=_SEAL_S)

    def _interrupted(self, there: dict[str, Any], notes: int) -> dict[str, Any]:
        """Return the end of a sequence whose recorder died; a topic or a note may be there and not here."""
        ends = {name: int(known["next_seq"]) for name, known in there.items()}
        for topic in self._topics.values():  # the server may have more: sent, and never heard to be accepted
            name = topic.declaration.name
            ends[name] = max(ends.get(name, 0), topic.end_seq - topic.elsewhere)
        outcome = str(Outcome.INTERRUPTED)
        return {"outcome": outcome, "cause": _DIED, "topics": ends, "notes": notes}

    def _names(self) -> set[str]:
        return {topic.declaration.name for topic in self._topics.values()}

    # -- rows and notes --------------------------------------------------------------------------

    def _send_all(self, connection: Connection, place: Place, notes: SpooledNotes, wanted: Offered) -> None:
        """Send what is here, and tell what was ``wanted`` and is not here any more as lost."""
        header = place.header
        try:
            for line in journal.read_topics(self.bundle):
                self._declare(connection, place, line)
            for path, frame in self._frames(header["nonce"]):
                if frame.header.kind == Kind.TOPIC:
                    self._declare(connection, place, _document(path, frame))
                elif frame.header.kind in (Kind.GAP, Kind.ARTIFACT):
                    notes.send(frame.header.first_seq, Kind(frame.header.kind), _document(path, frame))
                elif frame.header.kind in _ROWS and frame.header.topic != HEALTH_INDEX:
                    self._send_frame(place, self._topic(frame.header.topic), path, frame)
            notes.fill(wanted.notes)
            for name in place.lacking(wanted, self._names()):
                notes.tell(f"{name!r}: what the server had accepted of it is not in the spool")
            for index, topic in self._topics.items():
                topic.fill(max(self._reach.get(index, 0), wanted.topics.get(topic.declaration.name, 0)))
                topic.way.sync()
            for topic in self._topics.values():
                topic.way.finish(_SEAL_S)
                self._check_accepted(header["name"], topic)
        except GaplessError as error:
            raise self._broken() or error from error
        finally:
            for topic in self._topics.values():
                topic.way.cut()
                topic.way.leave()

    def _note_damage(self) -> None:
        """Note a loss before the server hears of it: a later attempt finds it told and meets none."""
        note_damage(self.bundle, self.store.platform)

    def _broken(self) -> GaplessError | None:
        """Return what a way heard from the server: it says more than the write that met it."""
        return next((t.way.broken for t in self._topics.values() if t.way.broken is not None), None)

    def _frames(self, nonce: int) -> Iterator[tuple[Path, Frame]]:
        """Yield the whole frames; of damaged ones that were durable note how far their rows went."""
        mark = read_watermark(self.bundle.journal / "watermark")
        last = ("", 0) if mark is None else (segment_name(mark.segment), mark.offset)
        for path in segment_paths(self.bundle):
            for item in scan(path, nonce):
                if not isinstance(item, Damage):
                    yield path, item
                elif item.header is not None and item.header.kind in _ROWS and (path.name, item.end) <= last:
                    index, end = item.header.topic, item.header.first_seq + item.header.rows
                    self._reach[index] = max(self._reach.get(index, 0), end)

    def _declare(self, connection: Connection, place: Place, line: dict[str, Any]) -> None:
        declaration = TopicDeclaration.from_json(line)
        if declaration.index == HEALTH_INDEX or declaration.index in self._topics:
            return  # the figures of this machine's disk; and segments repeat what was declared
        words = {
            **place_words(place.header),
            "declaration": declaration.to_json(),
            "on_full": str(OverflowPolicy.BLOCK),
        }
        connection.action(protocol.TOPIC, words, timeout_s=self.timeout_s)
        self._topics[declaration.index] = Topic(
            declaration, self.pool, place, self.timeout_s, self._note_damage, self._most_bytes
        )

    def _topic(self, index: int) -> Topic:
        """Return the topic of a frame; DeliveryFailed where both copies of its declaration are damaged."""
        found = self._topics.get(index)
        if found is None:
            raise DeliveryFailed(
                "the spool has rows of a topic whose declaration is lost",
                sequence=name_in(self.bundle),
                found=f"topic number {index}",
                next_step="the spool keeps them; restore journal/topics.jsonl from a backup",
            )
        return found

    def _send_frame(self, place: Place, topic: Topic, path: Path, frame: Frame) -> None:
        kind, first, rows = frame.header.kind, frame.header.first_seq, frame.header.rows
        if kind == Kind.DROP:
            cause = str(_document(path, frame)["cause"])
            if cause == ACCEPTED and place.is_apart:
                cause = f"{ACCEPTED}, which has it no more"
            elif cause == ACCEPTED and topic.next_seq < first + rows:
                raise DeliveryFailed(
                    "the server has less than it accepted before; the spool holds only the rest",
                    sequence=name_in(self.bundle),
                    topic=topic.declaration.name,
                    found=f"{topic.next_seq} rows",
                    expected=f"at least {first + rows}",
                    next_step="look whether the server's store was put back to an older state; what it has is "
                    "sealed by `gapless recover` there, and the rest becomes a layer of it",
                )
            topic.send(Parcel(first, rows, cause=cause))
            return
        unstamped = rows if frame.header.flags & CLOCK_USED else 0
        topic.send(_parcel(topic, first, read_payload(path, frame), kind, unstamped))

    def _check_accepted(self, name: str, topic: Topic) -> None:
        if topic.accepted_seq < topic.end_seq:
            raise Unreachable(
                "the server ended the stream before it accepted everything",
                sequence=name,
                topic=topic.declaration.name,
                found=topic.accepted_seq,
                expected=topic.end_seq,
            )


def _elsewhere(error: NameTaken) -> str | None:
    """Return the name under which the server has this very recording open; None where another has the name."""
    return str(error.found) if error.message == protocol.UID_ELSEWHERE else None


def _document(path: Path, frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_payload(path, frame))
    return found


def _parcel(topic: Topic, first_seq: int, payload: bytes, kind: int, unstamped: int) -> Parcel:
    rows = RowsOnTheWay(topic.declaration, topic.layout)
    count = 0
    if kind == Kind.PACKED:
        assert topic.layout is not None
        count = len(payload) // topic.layout.row_bytes
        rows.add(payload, count, is_batch=False)
    else:
        batch = pa.ipc.read_record_batch(pa.py_buffer(payload), rows.schema)
        count = batch.num_rows
        rows.add(pa.py_buffer(payload), count, is_batch=True)
    rows.unstamped = unstamped
    return rows.parcel(first_seq)


def deliver_all(
    folder: Path,
    pool: ConnectionPool,
    *,
    timeout_s: float,
    from_anywhere: bool = True,
    stopped: threading.Event | None = None,
    renames: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[Delivered], dict[str, GaplessError]]:
    """Deliver all that waits in a spool; return what was delivered, and for each of the rest what hindered it.

    One that cannot be delivered does not hinder the next, but without a server there is no next. Without
    ``from_anywhere`` only what was recorded for this server's address goes there. ``renames`` gives sequences,
    by their names in the spool, another name for the case that theirs is taken on the server.
    """
    delivered: list[Delivered] = []
    hindered: dict[str, GaplessError] = {}
    if not (folder / "spool").is_dir():
        return delivered, hindered
    store = SpoolStore(folder)
    for bundle in store.waiting():
        if stopped is not None and stopped.is_set():
            break
        try:
            if not from_anywhere:
                check_address(bundle, pool.endpoint.url)
            other_name = renames.get(name_in(bundle))
            delivered.append(_delivered(store, bundle, pool, timeout_s, other_name))
        except Unreachable as error:
            hindered[name_in(bundle)] = error
            break
        except GaplessError as error:
            hindered[name_in(bundle)] = error
        except OSError as error:
            hindered[name_in(bundle)] = StorageFailed(
                "the disk refused the spool of a sequence", sequence=name_in(bundle), found=str(error)
            )
    store.purge_delivered()  # what stays hinders nothing: the next look tries again
    return delivered, hindered


def _delivered(
    store: SpoolStore, bundle: Bundle, pool: ConnectionPool, timeout_s: float, other_name: str | None
) -> Delivered:
    """Deliver one bundle, again from where the server is if it let go of the sequence on the way.

    A server does so when it hears nothing for a lease, as of a client whose machine is busy.
    """
    for left in reversed(range(_TRIES)):
        try:
            return Delivery(store, bundle, pool, timeout_s, other_name).run()
        except ServingFailed as error:
            if type(error) is not ServingFailed or not left:
                raise
    raise AssertionError("the last try returns or raises")


def check_address(bundle: Bundle, url: str) -> None:
    """Raise DeliveryFailed for what was recorded for another server: nobody has said that it may go to this one."""
    meant_for = recorded_for(bundle)
    if meant_for != url:
        raise DeliveryFailed(
            "the sequence was recorded for another server",
            sequence=name_in(bundle),
            found=meant_for,
            expected=url,
            next_step=f"`{delivery_command(bundle.path.parents[1], url)}` brings it here all the same",
        )
