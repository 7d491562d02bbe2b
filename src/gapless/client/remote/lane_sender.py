"""The sender of one topic: takes rows from the topic's lanes and sends them until they are accepted.

Rows are numbered when they are taken and kept until they are accepted. After a cut the sender asks the
other end for the first row that it does not have, and goes on from there: nothing is lost or doubled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import TYPE_CHECKING, Protocol

from gapless.client.remote.lane_parcel import PARCEL_BYTES, Parcel, RowsOnTheWay
from gapless.client.remote.lane_way import Way
from gapless.client.remote.resend import Unaccepted
from gapless.errors import (
    DeadlinePassed,
    GaplessError,
    KeyRefused,
    RightMissing,
    SequenceOwned,
    ServingFailed,
)
from gapless.store.handover import Block, Command
from gapless.store.lane import BlocksWaiting, GeneralLane, PackedLane
from gapless.store.writer import TopicState

if TYPE_CHECKING:
    from gapless.client.remote.uplink_hand_over import UplinkHandOver

WINDOW_BYTES = 16 << 20  # on the way at one time: 80 MB/s at a round trip of 200 ms
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_LOOK_S = 0.5


class Route(Protocol):
    """What a sender needs of the recording it belongs to."""

    deadline_s: float
    """How long rows may wait for a way."""
    window_s: float
    """How old a row becomes before it is sent."""

    def way(self, sender: LaneSender) -> Way:
        """Open the way that parcels go now. Raises what ``may_pass`` tells of."""

    def leads(self, way: Way) -> bool:
        """Tell whether parcels still go that way."""

    def unreachable(self, since: float) -> bool:
        """Hear that there is no way since then; return whether another one is open now."""

    def fail(self, error: BaseException) -> None:
        """End the recording."""


def may_pass(error: BaseException) -> bool:
    """Tell whether trying again later can help."""
    lasting = isinstance(error, KeyRefused | RightMissing)
    return isinstance(error, ServingFailed | SequenceOwned) and not lasting


class LaneSender:
    """The thread of one topic. ``flush`` and ``end`` return requests that are done when all is accepted."""

    def __init__(self, route: Route, state: TopicState, hand_over: UplinkHandOver) -> None:
        self.state = state
        self.hand_over = hand_over
        self.rows = RowsOnTheWay(state.declaration, state.layout)
        self.unaccepted = Unaccepted(hand_over.sequence, state.declaration.name)
        self.is_declared = False
        self.accepted_rows = 0  # durable on the server
        self.turn_ended_ns = time.monotonic_ns()
        self._route = route
        self._window_bytes = min(WINDOW_BYTES, hand_over.max_unsynced_bytes // 2)
        self._way: Way | None = None
        self._told_unstamped: dict[int, int] = {}
        self._waiting: list[tuple[int, Command]] = []  # requests, and the row up to which each waits
        self._lock = threading.Lock()  # guards the list above
        self._progress = threading.Event()
        self._sync_wanted = False
        self._ending: Command | None = None
        self._trouble_since: float | None = None  # rows wait, and no way got any of them accepted
        self._pause_s = _FIRST_PAUSE_S
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"gapless-sender-{state.declaration.name}", daemon=True
        )

    def start(self) -> None:
        """Begin to take and send."""
        self._thread.start()

    # -- other threads' side ---------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether the topic is declared and everything offered so far is accepted."""
        return self.is_declared and self.state.offered_rows <= self.unaccepted.accepted_seq

    def flush(self) -> Command:
        """Ask that everything pushed so far be accepted."""
        command = Command("flush")
        self.hand_over.queue.put(command)
        return command

    def end(self) -> Command:
        """Ask for the lanes' last rows, and the end when they are accepted. The lanes refuse pushes already."""
        command = Command("end")
        self._ending = command
        self.hand_over.queue.put(command)
        return command

    def change_way(self) -> None:
        """Break the present way, so that the next one is taken. From any thread."""
        way = self._way
        if way is not None:
            way.cut()
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Return when the thread has ended, or the time is over."""
        self._thread.join(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """End the thread, whatever it waits for."""
        self._stopped.set()
        self.change_way()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def accept_there(self, seq: int) -> None:
        """Hear from the server that everything below ``seq`` is durable there."""
        self.accept(seq, on_server=True)

    def accept(self, seq: int, *, on_server: bool = False) -> None:
        """Hear from a way that everything below ``seq`` is durable at its end."""
        before = self.unaccepted.accepted_seq
        done = self.unaccepted.accept(seq)
        if self.unaccepted.accepted_seq > before:
            self._trouble_since, self._pause_s = None, _FIRST_PAUSE_S
        self.state.durable_dropped = self.unaccepted.accepted_dropped
        self.state.durable_seq = self.unaccepted.accepted_seq
        if on_server:
            self.accepted_rows = self.state.durable_rows
        self.hand_over.release(sum(parcel.reserved_bytes for parcel in done))
        for parcel in done:
            for tell in parcel.on_accepted:
                tell()
        self._progress.set()
        self._answer()
        self._tell_rows()

    def _answer(self) -> None:
        """Tell the requests that have what they waited for."""
        accepted = self.unaccepted.accepted_seq
        with self._lock:
            done = [command for seq, command in self._waiting if seq <= accepted]
            self._waiting = [item for item in self._waiting if item[0] > accepted]
        for command in done:
            command.done.set()
        if done:
            self.wake()

    def _tell_rows(self) -> None:
        """Call the topic's durability callbacks; one that raises is called no more and its error is kept."""
        for callback in list(self.state.on_durable):
            try:
                callback(self.state.durable_rows)
            except BaseException as error:  # noqa: BLE001 - the user's code must not end the recording
                self.state.callback_error = error
                self.state.on_durable.remove(callback)

    def wake(self) -> None:
        """Let the thread look around, whatever it waits for."""
        self._progress.set()
        self.hand_over.queue.put(None)

    # -- the thread: ways ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopped.is_set() and not self._is_over():
                try:
                    self._travel(self._route.way(self))
                except GaplessError as error:
                    if self._is_over():
                        return  # everything is accepted: how the stream ended is of no matter
                    if self._stopped.is_set() or not may_pass(error):
                        raise
                    self._endure(error)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: every error becomes the recording's failure
            if not self._stopped.is_set():
                self._route.fail(error)

    def _is_over(self) -> bool:
        return self._ending is not None and self._ending.done.is_set()

    def _endure(self, error: GaplessError) -> None:
        """Wait a moment before the next attempt; DeadlinePassed when rows wait for longer than the deadline."""
        if self.is_idle:
            self._trouble_since = None
            if self._ending is not None:
                self._take_ends()
        else:
            now = time.monotonic()
            since = self._trouble_since = self._trouble_since or now
            if self._route.unreachable(since):
                self._trouble_since = None
                return
            if now - since > self._route.deadline_s:
                raise self._gave_up(error) from error
        self._stopped.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _gave_up(self, error: GaplessError) -> DeadlinePassed:
        return DeadlinePassed(
            "the server could not be reached for too long",
            sequence=self.hand_over.sequence,
            topic=self.state.declaration.name,
            found=str(error),
            expected=f"an answer within {self._route.deadline_s:g} s",
            next_step="everything accepted is on the server; look at it there, or connect with spool=",
        )

    def _travel(self, way: Way) -> None:
        """Send on this way until the end; raises what broke it."""
        self._way = way
        try:
            if not (self._route.leads(way) and self._send_all(way)):
                way.cut()
        except BaseException as error:
            way.cut()
            way.leave()
            if way.broken is not None and isinstance(error, GaplessError):
                raise way.broken from error
            raise
        finally:
            self._way = None
        way.leave()

    def _send_all(self, way: Way) -> bool:
        """Send everything until the end; return False when the thread was stopped before."""
        rest = self.unaccepted.begin_again(way.next_seq)
        if rest is not None:
            way.send(rest)
        self._sync_wanted = bool(len(self.unaccepted))
        due = time.monotonic() + self._route.window_s
        while not self._stopped.is_set():
            if way.broken is not None:
                raise way.broken
            self._send_taken(way)
            if self._is_over():
                way.finish(self._route.deadline_s)
                return True
            if self.unaccepted.size_bytes >= self._window_bytes:
                self._progress.wait(_LOOK_S)
                self._progress.clear()
                continue
            self._take(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                self._steal()
                due = time.monotonic() + self._route.window_s
            self.turn_ended_ns = time.monotonic_ns()
        return False

    def _send_taken(self, way: Way) -> None:
        while (parcel := self.unaccepted.next_unsent()) is not None:
            way.send(parcel)
        if self._sync_wanted:
            self._sync_wanted = False
            way.sync()

    # -- the thread: rows ------------------------------------------------------------------------

    def _take(self, timeout_s: float) -> None:
        """Take one parcel's worth of what waits in the queue, waiting for the first at most so long."""
        while True:
            try:
                item = (
                    self.hand_over.queue.get(timeout=timeout_s)
                    if timeout_s
                    else self.hand_over.queue.get_nowait()
                )
            except Empty:
                break
            timeout_s = 0.0
            if isinstance(item, Block):
                self._take_block(item)
            elif item is not None:
                self._obey(item)
            if item is None or self.rows.is_full or self.unaccepted.size_bytes >= self._window_bytes:
                break
        self._pack()

    def _take_block(self, block: Block) -> None:
        self.hand_over.take(block)
        if block.payload is None:
            self._pack()
            self._keep(Parcel(self.state.next_seq, block.rows, cause=block.cause))
            self.state.dropped += block.rows
            return
        if not self.rows.fits(block.size_bytes):
            self._pack()
        self._add(block.lane, block.payload, block.rows, is_batch=block.batch is not None)
        self.rows.reserved_bytes += block.size_bytes
        if block.on_written is not None:
            self.rows.on_accepted.append(block.on_written)
            self._sync_wanted = True

    def _add(
        self, lane: PackedLane | GeneralLane, payload: object, rows: int, *, is_batch: bool = False
    ) -> None:
        told = self._told_unstamped.get(id(lane), 0)
        fresh = min(rows, lane.unstamped_rows - told)
        self._told_unstamped[id(lane)] = told + fresh
        self.rows.add(payload, rows, is_batch=is_batch)
        self.rows.unstamped += fresh

    def _pack(self) -> None:
        """Make a parcel of the rows taken so far."""
        if not self.rows.rows:
            return
        parcel = self.rows.parcel(self.state.next_seq)
        self.rows = RowsOnTheWay(self.state.declaration, self.state.layout)
        for piece in parcel.pieces(min(PARCEL_BYTES, self.hand_over.max_record_bytes)):
            self._keep(piece)

    def _keep(self, parcel: Parcel) -> None:
        self.unaccepted.add(parcel)
        self.state.next_seq = parcel.end_seq

    def _obey(self, command: Command) -> None:
        if command.kind == "written":
            self._pack()
            self._when_accepted(command.argument)
        elif command.kind == "flush":
            if self._steal():
                self._wait_for(command)
            else:  # blocks are in the queue behind this request; all that was pushed before it is in them
                command.kind = "fenced"
                self.hand_over.queue.put(command)
        elif command.kind == "fenced":
            self._pack()
            self._wait_for(command)
        elif command.kind == "end":
            self._take_ends()

    def _when_accepted(self, tell: Callable[[], None]) -> None:
        """Call back when the rows taken so far are accepted."""
        if self.unaccepted.attach(tell):
            self._sync_wanted = True
        else:
            tell()

    def _wait_for(self, command: Command) -> None:
        with self._lock:
            self._waiting.append((self.state.next_seq, command))
        self._sync_wanted = True
        self._answer()

    def _steal(self) -> bool:
        """Take what every lane holds; return False where earlier rows of a lane are in the queue."""
        complete = True
        for lane in list(self.state.lanes):
            try:
                stolen = lane.steal()
            except BlocksWaiting:
                complete = False
                continue
            if stolen is not None:
                self._add(lane, stolen[0], stolen[1])
        self._pack()
        return complete

    def _take_ends(self) -> None:
        """Take the last rows of every lane: a push under way in another thread is taken whole or refused."""
        command = self._ending
        assert command is not None
        rests = [(lane, lane.end()) for lane in list(self.state.lanes)]
        fence = Command("fence")
        self.hand_over.queue.put(fence)
        while (item := self.hand_over.queue.get()) is not fence:
            if isinstance(item, Block):
                self._take_block(item)
            elif item is not None and item is not command:
                self._obey(item)
        for lane, rest in rests:
            if rest is not None:
                self._add(lane, rest[0], rest[1])
        self._pack()
        self._wait_for(command)
