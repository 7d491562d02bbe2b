"""A recording on a server: one lane, sender and stream for each topic, and the ways in which it ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.lane_sender import LaneSender, may_pass
from gapless.client.remote.lane_way import ServerWay, Way, place_words, topic_words
from gapless.client.remote.presence import Presence
from gapless.client.remote.spool import Spool
from gapless.client.remote.uplink_hand_over import UplinkHandOver
from gapless.client.remote.uplink_notes import Note, NoteSender
from gapless.client.remote.uplink_server import PAUSE_S, UplinkServer
from gapless.errors import (
    DeadlinePassed,
    GaplessError,
    LedgerUnbalanced,
    RecordingFailed,
    UsageError,
    WriterClosed,
    WriterDied,
)
from gapless.model.ledger import Ledger
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.frame import Kind
from gapless.store.handover import Command, HandOver, OverflowPolicy
from gapless.store.lane import GeneralLane, PackedLane, forked
from gapless.store.packing import Layout
from gapless.store.platform import PLATFORM
from gapless.store.writer import Progress, TopicState

GRACE_S: Final = 2.0  # how long a server may be away before the spool takes over
_AWAY_S: Final = 10.0
_LOOK_S = 0.2


class RemoteRecording:
    """One sequence while it is written to a server. See :class:`gapless.client.recording.Recording`.

    Everything pushed is kept until the server has it durably. When the server is away the senders try again
    until ``deadline_s`` pass without anything accepted; with ``spool`` the rest goes there instead, after
    GRACE_S. The constructor returns when the server, or the spool, has begun the sequence.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        header: dict[str, Any],
        *,
        durability: Durability,
        spool: Path | None = None,
        on_spooled: Callable[[], None] = lambda: None,
    ) -> None:
        self.header = header
        self.failure: GaplessError | None = None
        self.closed = False
        self.deadline_s = durability.deadline_s
        self.window_s = durability.flush_ms / 1000
        self._durability = durability
        self._spool_folder = spool
        self._on_spooled = on_spooled
        self._spool: Spool | None = None
        self._spool_lock = threading.Lock()
        self._senders: dict[int, LaneSender] = {}
        self._refusal: Callable[[], Exception] | None = None
        self._stopped = threading.Event()
        self._requested = False
        call_s = self.deadline_s if spool is None else min(self.deadline_s, 2 * GRACE_S)
        self._server = UplinkServer(pool, header, call_s)
        self._closing: dict[str, Any] = {}
        clock = header["clock"]
        self._clock_base: int = clock["wall_ns"] - clock["boot_ns"]
        self._notes = NoteSender(
            self.name, header["uid"], self._try_note, self._server.notes, lambda: self._spool, self.fail
        )
        self._presence: Presence | None = None
        self._released = False
        pool.hold()  # a client that is closed does not end what is being recorded
        try:
            self._begin()
        except BaseException:
            pool.let_go()
            raise
        if self._server.lease_s is not None:
            self._presence = Presence(self.name, self._server.lease_s, self._say_present, self.fail)

    @property
    def name(self) -> str:
        """The sequence's or layer's name."""
        return str(self.header["name"])

    @property
    def path(self) -> Path | None:
        """The bundle's folder: on another machine."""
        return None

    # -- rows ----------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the sequence's clock: wall time at creation plus monotonic time since; it never steps."""
        return self._clock_base + PLATFORM.boot_ns()

    def declare(
        self, declaration: TopicDeclaration, overflow: OverflowPolicy = OverflowPolicy.BLOCK
    ) -> TopicState:
        """Add a topic with a queue and a sender of its own; its declaration goes before its rows."""
        self._check_alive()
        state = TopicState(declaration, Layout.of(declaration))
        knobs = self._durability
        largest = self._server.max_batch_bytes or knobs.max_record_bytes
        hand_over = UplinkHandOver(
            self.name,
            max_unsynced_bytes=knobs.max_unsynced_bytes,
            deadline_s=knobs.deadline_s,
            max_record_bytes=min(knobs.max_record_bytes, largest - largest // 16),  # Arrow adds to a row
            failure=lambda: self.failure,
        )
        hand_over.set_policy(declaration.index, overflow)
        sender = LaneSender(self, state, hand_over)
        self._senders[declaration.index] = sender
        sender.start()
        self._end_presence()
        return state

    def lane(self, state: TopicState) -> PackedLane | GeneralLane:
        """Return a new lane into the topic, for one thread."""
        self._check_alive()
        hand_over = self.hand_over_of(state)
        lane: PackedLane | GeneralLane
        if state.layout is not None:
            lane = PackedLane(hand_over, state.layout, self.now_ns)
        else:
            lane = GeneralLane(hand_over, state.declaration, self.now_ns)
        state.lanes.append(lane)
        if self._refusal is not None:  # the end came while the lane was made
            lane.refuse(self._refusal)
        return lane

    def hand_over_of(self, state: TopicState) -> HandOver:
        """Return the topic's own queue."""
        return self._senders[state.declaration.index].hand_over

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every row pushed before the call is accepted, or durable in the spool."""
        self._check_alive()
        asked = [sender.flush() for sender in self._lanes() if not sender.is_idle]
        self._await(asked, self.deadline_s if timeout_s is None else timeout_s)

    def flush_topic(self, state: TopicState, timeout_s: float | None = None) -> None:
        """Return when the topic's rows pushed before the call are accepted, or durable in the spool."""
        self._check_alive()
        sender = self._senders[state.declaration.index]
        asked = [] if sender.is_idle else [sender.flush()]
        self._await(asked, self.deadline_s if timeout_s is None else timeout_s)

    def accepted_rows(self, state: TopicState) -> int:
        """Return how many rows of the topic are durable on the server."""
        return self._senders[state.declaration.index].accepted_rows

    def note(self, kind: Kind, document: dict[str, Any], *, wait: bool = True) -> None:
        """Record a gap or an artifact's address; durable where the sequence is when the call returns, if it waits.

        After DeadlinePassed or Unreachable it may be there, or on its way: the same document once more counts once.
        """
        self._check_alive()
        note = Note(kind, document)
        command = self._notes.put(note, waited_for=wait)
        if not wait:
            return
        try:
            self._await([command], self.deadline_s, self._noted)
        except DeadlinePassed:
            self._notes.give_up(note, command)
            raise

    def ledger(self, state: TopicState) -> Ledger:
        """Return what became of the rows offered so far, as far as this process knows."""
        offered = state.offered_rows
        return Ledger(offered + state.gapped, offered - state.dropped, state.dropped, state.gapped)

    def progress(self) -> Progress:
        """Return how far the server is behind, without waiting; the headroom is the fullest topic's."""
        room, waiting, oldest = self._durability.max_unsynced_bytes, 0, time.monotonic_ns()
        for sender in self._lanes():
            pending = sum(lane.pending_bytes for lane in list(sender.state.lanes))
            taken = sender.hand_over.unsynced_bytes + pending
            room = min(room, sender.hand_over.max_unsynced_bytes - taken)
            waiting += sender.state.offered_rows - sender.state.durable_seq
            oldest = min(oldest, sender.turn_ended_ns)
        return Progress(max(0, room), waiting, time.monotonic_ns() - oldest)

    def describe_hops(self, describe: Callable[[], str | None]) -> None:
        """Nothing to do: ``_health`` on a server is about the server's own writer."""

    def announce(self, words: dict[str, Any]) -> None:
        """Nothing to do: a recorder is looked for on its own machine."""

    # -- files ---------------------------------------------------------------------------------

    def add_artifact(self, path_or_uri: str | os.PathLike[str], name: str | None, media_type: str) -> str:
        """Upload a file, or note an address; return the artifact's name, durable.

        Takes as long as bytes get on. After DeadlinePassed the same call waits for the same upload again.
        """
        self._check_alive()
        added = self._notes.add(path_or_uri, name, media_type)
        self._await([added.command], self.deadline_s, self._noted)
        added.told = True
        return str(added.note.document["name"])

    def grow_artifact(self, name: str, media_type: str) -> Path:  # noqa: ARG002 - the protocol's arguments
        """Raise UsageError: no program of this machine can write into a bundle of another."""
        raise UsageError(
            "a file cannot grow inside a sequence that is on a server",
            sequence=self.name,
            found=name,
            next_step="write the file here and call seq.add_artifact(path) when it is complete",
        )

    # -- the end -------------------------------------------------------------------------------

    def close(self, closing: dict[str, Any], timeout_s: float | None = None) -> None:
        """Take no more rows and wait until everything is accepted, as long as that gets on.

        Raises the failure if there was one, and DeadlinePassed when nothing was accepted for that long.
        """
        if self.closed:
            return
        self._closing = closing
        self.refuse(lambda: WriterClosed("the sequence is closed", sequence=self.name))
        limit_s = self.deadline_s if timeout_s is None else timeout_s
        try:
            self._check_failure()
            ends = [sender.end() for sender in self._lanes()]
            self._await([*ends, self._notes.put_fence()], limit_s, self._accepted)
            for sender in self._lanes():
                sender.join(limit_s)
            if self._spool is not None:
                self._spool.close(closing)
        finally:
            self.closed = True
        late = [s.state for s in self._lanes() if s.state.offered_rows > s.state.next_seq]
        if late:
            raise LedgerUnbalanced(
                "a thread pushed while the sequence was being closed",
                sequence=self.name,
                topic=late[0].declaration.name,
                next_step="join the producing threads before the with-block ends",
            )

    def seal(self) -> dict[str, Any]:
        """Commit what was closed and return its manifest; in the spool, keep the wish for the delivery."""
        answer = self._request(
            protocol.END, self._closing | {"topics": self._offered(), "notes": self._notes.accepted}
        )
        manifest: dict[str, Any] = answer.get("manifest") or {"content_digest": answer.get("content_digest")}
        return manifest

    def keep(self, text: str, *, told: bool) -> None:
        """Keep all that there is as pending."""
        note = {"severity": "error", "message": text, "timestamp_ns": self.now_ns(), "source": ""}
        self._request(protocol.KEEP, {"text": text, "notifications": [] if told else [note]})

    def discard(self, words: dict[str, Any]) -> None:
        """Move the sequence to the trash of the server; the words stay as its tombstone. Also after the release.

        Where the recording failed because the server was away, what it accepted stays there, open: whether it is
        kept must not depend on when the server comes back.
        """
        if self._spool is None and self._was_left:
            assert self.failure is not None
            self.failure.add_note(f"what the server had accepted of {self.name!r} is left there, open")
            return
        self._server.pool.hold(again=True)
        try:
            self._request(protocol.DISCARD, {"tombstone": words})
        finally:
            self._server.pool.let_go()

    @property
    def _was_left(self) -> bool:
        """Whether the recording failed because the server did not answer."""
        cause = None if self.failure is None else self.failure.__cause__
        return isinstance(cause, GaplessError) and may_pass(cause)

    def release(self) -> None:
        """End every thread and stream; whatever was not sealed, kept or discarded stays recoverable."""
        self._stopped.set()
        if self._presence is not None:
            self._presence.join(self.deadline_s)
        for sender in self._lanes():
            sender.stop(self.deadline_s)
        self._notes.stop(self.deadline_s)
        if not self._released:
            self._released = True
            self._server.pool.let_go()
        if self._spool is not None:
            try:
                self._spool.release()
            finally:
                if self._requested:
                    self._on_spooled()

    def abandon_in_child(self) -> None:
        """In a forked child: let go without touching anything, and refuse every push."""
        self.closed = True
        if self._spool is not None:
            self._spool.abandon_in_child()
        self.refuse(lambda: forked(self.name))

    def refuse(self, reason: Callable[[], Exception]) -> None:
        """Make every later push of every lane raise ``reason()``."""
        self._refusal = reason
        for sender in self._lanes():
            for lane in list(sender.state.lanes):
                lane.refuse(reason)

    def fail(self, error: BaseException) -> None:
        """End the recording: every later call raises this."""
        failure: GaplessError
        if isinstance(error, RecordingFailed):
            failure = error
        elif isinstance(error, GaplessError):
            failure = RecordingFailed(
                "the server refused the rest of the recording",
                sequence=self.name,
                found=str(error),
                next_step=error.advice,
            )
        else:
            failure = WriterDied("a sender ended with an error", sequence=self.name, found=repr(error))
        failure.__cause__ = failure.__cause__ or (error if error is not failure else None)
        if self.failure is None:
            self.failure = failure
        self.refuse(lambda: failure)
        for sender in self._lanes():
            sender.hand_over.wake_all()

    # -- ways ----------------------------------------------------------------------------------

    def way(self, sender: LaneSender) -> Way:
        """Open the way that the topic's parcels go now: to the server, or into the spool."""
        spool = self._spool
        if spool is not None:
            way: Way = spool.way(sender)
        else:
            declaration = sender.state.declaration
            self._server.declare(declaration)
            way = ServerWay(
                self._server.pool,
                topic_words(self.header, declaration.name),
                sender.rows.schema,
                timeout_s=self._server.call_s,
                on_accepted=sender.accept_there,
                on_change=sender.wake,
            )
        sender.is_declared = True
        return way

    def leads(self, way: Way) -> bool:
        """Tell whether parcels still go that way."""
        return self._spool is None or not isinstance(way, ServerWay)

    def unreachable(self, since: float) -> bool:
        """Hear that the server has been away since then; return whether there is a spool now."""
        if self._spool_folder is None:
            return False
        if self._spool is None and time.monotonic() - since < GRACE_S:
            return False
        self._server.pool.away_at_s = time.monotonic()
        self._take_spool(self._spool_folder)
        return True

    def _take_spool(self, folder: Path) -> Spool:
        with self._spool_lock, self._notes.counting:
            if self._spool is None:
                self._spool = Spool(
                    folder,
                    self.header,
                    to=self._server.pool.endpoint.url,
                    notes=self._notes.accepted,
                    durability=self._durability,
                )
                for sender in self._lanes():
                    sender.change_way()
            return self._spool

    # -- talking to the server -------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin the sequence on the server or, when that is away, in the spool.

        A server that another sequence has given up a moment ago is asked once.
        """
        since = time.monotonic()
        if since - self._server.pool.away_at_s < _AWAY_S:
            since -= GRACE_S
        while True:
            try:
                self._server.begin()
                return
            except GaplessError as error:
                if not may_pass(error):
                    raise
                if self.unreachable(since):
                    return
                if time.monotonic() - since > GRACE_S:
                    raise
            time.sleep(PAUSE_S)

    def _try_note(self, call: Callable[[Connection], None]) -> bool:
        """Call until it succeeds; return False when the spool has taken over.

        Raises the last error when ``deadline_s`` pass in which no attempt came further than those before.
        """
        moved, since, furthest, again = self._notes.moved, time.monotonic(), 0, False
        while self._spool is None:
            begun = moved.size_bytes
            try:
                with self._server.pool.connection() as connection:
                    if again:
                        self._server.open(connection)
                    call(connection)
                    return True
            except GaplessError as error:
                if not may_pass(error):
                    raise
                if moved.size_bytes - begun > furthest:
                    furthest, since = moved.size_bytes - begun, moved.at_s
                if self.unreachable(since):
                    break
                if self._stopped.is_set() or time.monotonic() - since > self.deadline_s:
                    raise
            again = True
            self._stopped.wait(PAUSE_S)
        return False

    def _say_present(self) -> None:
        """Open the sequence once more: nothing changes there, but the server hears of its client."""
        if self._spool is None:
            with self._server.pool.connection() as connection:
                self._server.open(connection)

    def _end_presence(self) -> None:
        if self._presence is not None:
            self._presence.end()

    def _request(self, action: str, words: dict[str, Any]) -> dict[str, Any]:
        """Ask for an end, of the server or, where the rest is in the spool, of whoever delivers it."""
        self._end_presence()
        document = {**place_words(self.header), **words}
        if self._spool is None:
            patient = self.failure is None and self._spool_folder is None
            try:
                return self._server.end(action, document, self.deadline_s if patient else GRACE_S)
            except GaplessError as error:
                if self._spool_folder is None or not may_pass(error):
                    raise
            self._spool_nothing(self._spool_folder)
        assert self._spool is not None
        offered = {"topics": self._offered(), "notes": self._notes.accepted} if self.failure is None else {}
        self._spool.request(action, document, offered)
        self._requested = True
        if self._stopped.is_set():  # nothing more comes of this recording
            self._on_spooled()
        return {}

    def _spool_nothing(self, folder: Path) -> None:
        """Spool the end alone: the server has every row, and went away before it could be told."""
        spool = self._take_spool(folder)
        for sender in self._lanes():
            spool.way(sender)
        spool.close(self._closing)
        spool.note_arrival()

    # -- waiting -----------------------------------------------------------------------------------

    def _lanes(self) -> list[LaneSender]:
        return list(self._senders.values())

    def _offered(self) -> dict[str, int]:
        return {s.state.declaration.name: s.state.next_seq for s in self._lanes()}

    def _check_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _check_alive(self) -> None:
        self._check_failure()
        if self.closed:
            raise WriterClosed("the sequence is closed", sequence=self.name)

    def _await(
        self, commands: list[Command], limit_s: float, moved: Callable[[], object] = lambda: None
    ) -> None:
        """Return when all requests are done. Raises the recording's failure, or DeadlinePassed.

        The time runs anew whenever ``moved()`` has changed.
        """
        last, give_up = moved(), time.monotonic() + limit_s
        for command in commands:
            while not command.done.wait(max(0.0, min(_LOOK_S, give_up - time.monotonic()))):
                self._check_failure()
                if last != (now := moved()):
                    last, give_up = now, time.monotonic() + limit_s
                if time.monotonic() >= give_up:
                    raise DeadlinePassed(
                        "the server did not finish in time",
                        sequence=self.name,
                        found=f"no answer to {command.kind!r}",
                        expected=f"within {limit_s:g} s",
                        next_step="look at the server and the network; what it accepted is durable there",
                    )
            if command.error is not None:
                raise command.error

    def _noted(self) -> object:
        """Return how far notes and files have come; nothing stands still while a file is copied here."""
        copying_s = time.monotonic() if self._notes.is_copying else 0.0
        return self._notes.accepted, self._notes.moved.times, copying_s

    def _accepted(self) -> object:
        return sum(sender.unaccepted.accepted_seq for sender in self._lanes()), self._noted()
