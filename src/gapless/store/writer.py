"""The writer: one thread per open sequence owns every journal file and makes rows durable in groups.

Order of a commit: take blocks from the queue, write their frames, one data sync, then (and only then)
``durable_rows``, the watermark and the waiting flushes. A sync starts at the latest ``flush_ms`` after a
row was pushed, or when ``flush_bytes`` or ``flush_rows`` wait, whichever is first.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gapless.errors import (
    DeadlinePassed,
    GaplessError,
    LedgerUnbalanced,
    StorageFailed,
    WriterClosed,
    WriterDied,
)
from gapless.model.ledger import Ledger
from gapless.model.metadata import canonical_json
from gapless.store import journal
from gapless.store.background import BackgroundSealer
from gapless.store.cells import batch_value_bytes
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.frame import Kind
from gapless.store.handover import Block, Command, HandOver, OverflowPolicy
from gapless.store.health import HEALTH_INDEX, HealthLog
from gapless.store.lane import BlocksWaiting, GeneralLane, PackedLane, rows_to_batch
from gapless.store.layout import CUTS, SEGMENT_BYTES, Bundle, Cuts
from gapless.store.packing import Layout
from gapless.store.platform import PLATFORM, Platform
from gapless.store.segments import SegmentFile
from gapless.store.topic_sealer import CLOCK_ONLY, CLOCK_USED
from gapless.store.topic_state import Progress, TopicState
from gapless.store.watermark import WatermarkFile

if TYPE_CHECKING:
    from gapless.store.adopt import Adoption

_TURN_BYTES = 8 << 20  # blocks taken per turn, so that a flood cannot put a sync off


class BundleWriter:
    """Records into one bundle's journal until :meth:`close`.

    ``header`` is the sequence's description (see ``journal.make_header``). The constructor returns when
    the empty journal is durable and owned by this process. ``adopted``: the journal is there already, and
    the recording goes on in it; what it holds counts as written and durable.
    """

    def __init__(
        self,
        bundle: Bundle,
        header: dict[str, Any],
        *,
        durability: Durability | None = None,
        platform: Platform = PLATFORM,
        background_seal: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
        health_period_s: float = 10.0,
        cuts: Cuts = CUTS,
        adopted: Adoption | None = None,
    ) -> None:
        self.bundle = bundle
        self.header = header
        self.platform = platform
        self.durability = durability or Durability()
        self.topics: dict[int, TopicState] = {}
        self.failure: GaplessError | None = None
        self.closed = False
        self.max_lag_ns = 0
        self.notes = 0  # gaps and artifacts told of so far
        self._clock_base: int = header["clock"]["wall_ns"] - header["clock"]["boot_ns"]
        self._lock_fd = journal.create(bundle, header, platform) if adopted is None else adopted.lock_fd
        self.hand_over = HandOver(
            header["name"],
            max_unsynced_bytes=self.durability.max_unsynced_bytes,
            deadline_s=self.durability.deadline_s,
            max_record_bytes=self.durability.max_record_bytes,
            failure=lambda: self.failure,
            behind=lambda: self.sealer is not None and self.sealer.is_behind,
        )
        resumed = None if adopted is None else adopted.sealer
        self.sealer = (
            BackgroundSealer(bundle, header, platform, self._sealer_failed, cuts, resumed)
            if background_seal
            else None
        )
        self.segments = SegmentFile(
            bundle.journal,
            platform,
            header["nonce"],
            canonical_json(header),
            segment_bytes,
            self._segment_closed,
            after=0 if adopted is None else adopted.last_segment,
        )
        if adopted is not None:
            self._go_on(adopted)
        self.segments.write()
        self.segments.sync()
        self._declared: list[TopicState] = list(self.topics.values())  # also those new to the thread
        self.watermark = WatermarkFile(bundle.journal / "watermark", platform)
        self._unsynced: list[tuple[TopicState, int]] = []
        self._unsynced_rows = 0
        self._unsynced_block_bytes = 0
        self._oldest_ns = 0
        self._commands: list[Command] = []
        self._late: list[Command] = []
        self._tell_written: list[Callable[[], None]] = []  # of blocks that are to be in the file now
        self._published = (0, 0, 0)
        self._turn_ended_ns = time.monotonic_ns()
        self._lanes: list[PackedLane | GeneralLane] = []  # also of topics that the thread has not met yet
        self._refusal: Callable[[], Exception] | None = None
        if adopted is not None:
            self._publish()
            adopted.confirm()
        self.health = HealthLog(self, health_period_s)
        self._ending = threading.Lock()  # guards the two below
        self._thread_ended = False
        self._let_go = False
        self._leaving = False
        self._thread = threading.Thread(
            target=self._run, name=f"gapless-writer-{header['name']}", daemon=True
        )
        self._thread.start()

    def _go_on(self, adopted: Adoption) -> None:
        """Take over what an adopted journal holds. Its topics are declared again: a copy may have been torn."""
        self.notes = adopted.sealer.notes
        self._clock_base = adopted.clock_base_ns
        for state in adopted.topics():
            self.topics[state.declaration.index] = state
            self.hand_over.set_policy(state.declaration.index, OverflowPolicy.BLOCK)
            words = canonical_json(state.declaration.to_json())
            self.segments.append(Kind.TOPIC, state.declaration.index, 0, 0, words, 0)

    # -- producers' side -----------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the sequence's clock: wall time at open plus monotonic time since; it never steps."""
        return self._clock_base + self.platform.boot_ns()

    def declare(
        self, declaration: TopicDeclaration, overflow: OverflowPolicy = OverflowPolicy.BLOCK
    ) -> TopicState:
        """Add a topic; its declaration is durable before any of its rows. One of an adopted journal is there."""
        self._check_alive()
        for known in self._declared:
            if known.declaration.index == declaration.index:
                return known
        state = TopicState(declaration, Layout.of(declaration))
        self._declared.append(state)
        self.hand_over.set_policy(declaration.index, overflow)
        self.hand_over.queue.put(Command("topic", state))
        return state

    def lane(self, state: TopicState) -> PackedLane | GeneralLane:
        """Return a new lane into the topic, for one thread."""
        self._check_alive()
        lane: PackedLane | GeneralLane
        if state.layout is not None:
            lane = PackedLane(self.hand_over, state.layout, self.now_ns)
        else:
            lane = GeneralLane(self.hand_over, state.declaration, self.now_ns)
        state.lanes.append(lane)
        self._lanes.append(lane)
        if self._refusal is not None:  # the end came while the lane was made
            lane.refuse(self._refusal)
        return lane

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every row pushed before the call is durable."""
        self._ask(Command("flush"), timeout_s)

    def note(self, kind: Kind, document: dict[str, Any], *, wait: bool = True) -> None:
        """Record a gap that the producer knows of, or an artifact; durable when the call returns, if it waits.

        Raises MetadataRefused for what JSON cannot hold; the recording goes on.
        """
        command = Command("note", (kind, canonical_json(document)))
        if wait:
            self._ask(command, None)
        else:
            self._check_alive()
            self.hand_over.queue.put(command)

    def close(self, closing: dict[str, Any], timeout_s: float | None = None) -> None:
        """Write the last ledger durably and stop the thread. The journal stays for the seal.

        The lock is kept until :meth:`release`. Raises the failure of the recording if there was one, and
        LedgerUnbalanced when another thread was in the middle of a push. MetadataRefused: nothing was closed.
        """
        if self.closed:
            return
        canonical_json(closing)  # what cannot be written is refused while the recording can still be ended
        self.refuse(lambda: WriterClosed("the sequence is closed", sequence=self.header["name"]))
        try:
            self._ask(Command("close", closing), timeout_s)
        finally:
            self.closed = True
        late = [s for s in self.topics.values() if s.offered_rows > s.next_seq]
        if late:
            raise LedgerUnbalanced(
                "a thread pushed while the sequence was being closed",
                sequence=self.header["name"],
                topic=late[0].declaration.name,
                next_step="join the producing threads before the with-block ends; `gapless recover` seals the rest",
            )

    def let_go(self, timeout_s: float | None = None) -> None:
        """Make what was pushed durable and give up the ownership without an end: another owner can go on.

        Raises the failure of the recording if there was one; the ownership is given up all the same.
        """
        try:
            if not self.closed:
                self.refuse(lambda: WriterClosed("the sequence was let go", sequence=self.header["name"]))
                self._ask(Command("leave"), timeout_s)
        finally:
            self.closed = True
            self.release()

    def release(self) -> None:
        """Give up the ownership; the journal no longer changes.

        A writer thread stuck in the disk keeps it, as it may still write, and lets go when the disk is back.
        """
        if self.failure is not None or self.closed:
            self._thread.join(timeout=self.durability.deadline_s)
        if self.sealer is not None:
            self.sealer.stop(self.durability.deadline_s)
        with self._ending:
            self._let_go = True
            if self._thread_ended:
                self._close_files()

    def _close_files(self) -> None:
        if self._lock_fd >= 0:
            self.segments.close()
            self.watermark.close()
            self._release_lock()

    def _release_lock(self) -> None:
        if self._lock_fd >= 0:
            self.platform.close(self._lock_fd)
            self._lock_fd = -1

    def abandon_in_child(self) -> None:
        """In a forked child: drop the inherited lock and refuse every push."""
        from gapless.store.lane import forked

        self._release_lock()
        self.closed = True
        self.refuse(lambda: forked(self.header["name"]))

    def refuse(self, reason: Callable[[], Exception]) -> None:
        """Make every later push of every lane raise ``reason()``."""
        self._refusal = reason
        for lane in list(self._lanes):
            lane.refuse(reason)

    def ledger(self, state: TopicState) -> Ledger:
        """Return what became of the rows offered so far, as far as this process knows."""
        offered = state.offered_rows
        gapped = state.gapped + state.lost
        return Ledger(offered + state.gapped, offered - state.dropped - state.lost, state.dropped, gapped)

    def progress(self) -> Progress:
        """Return how far the disk is behind, without waiting for it."""
        # the writer's own figures are synced with the rows that follow them, and nobody waits for them
        states = [state for state in list(self._declared) if state.declaration.index != HEALTH_INDEX]
        pending = sum(lane.pending_bytes for lane in list(self._lanes))
        room = self.durability.max_unsynced_bytes - self.hand_over.unsynced_bytes - pending
        waiting = sum(state.offered_rows - state.durable_seq for state in states)
        return Progress(max(0, room), waiting, time.monotonic_ns() - self._turn_ended_ns)

    def announce(self, words: dict[str, Any]) -> None:
        """Write words into the lock file; they are for people and tools, the lock itself is what counts."""
        with self._ending:
            if self._lock_fd < 0:
                raise WriterClosed("the sequence is closed", sequence=self.header["name"])
            self.platform.rewrite(self._lock_fd, canonical_json(words))

    def _check_alive(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.closed:
            raise WriterClosed("the sequence is closed", sequence=self.header["name"])

    def _ask(self, command: Command, timeout_s: float | None) -> None:
        self._check_alive()
        self.hand_over.queue.put(command)
        deadline = time.monotonic() + (self.durability.deadline_s if timeout_s is None else timeout_s)
        while not command.done.wait(min(0.5, max(0.0, deadline - time.monotonic()))):
            if not self._thread.is_alive() and not command.done.is_set():
                raise self.failure or self._reason_to_refuse()
            if time.monotonic() >= deadline:
                raise DeadlinePassed(
                    "the disk did not finish in time",
                    sequence=self.header["name"],
                    found=f"no answer to {command.kind!r}",
                    expected=f"within {self.durability.deadline_s} s",
                )
        if command.error is not None:
            raise command.error

    def _reason_to_refuse(self) -> Exception:
        """Return why an ended thread answers nothing: it was told to end, or nobody knows."""
        if self._refusal is not None:
            return self._refusal()
        return WriterDied("the writer thread is gone", sequence=self.header["name"])

    # -- the writer thread ---------------------------------------------------------------------

    def _run(self) -> None:
        window_s = self.durability.flush_ms / 1000
        due = time.monotonic() + window_s
        try:
            while self.failure is None:
                closing = self._turn(max(0.0, due - time.monotonic()))
                now = time.monotonic()
                if now >= due or self._commands:
                    self._steal()
                    ending = closing is not None or self._leaving
                    if ending:
                        self._end_lanes()
                    self.health.sample(force=ending)
                    due = now + window_s
                    self._commit(closing)
                elif self._sync_wanted():
                    self._commit(None)
                elif self._tell_written:
                    self._steal()
                    self._write()
                self._turn_ended_ns = time.monotonic_ns()
                if closing is not None or self._leaving:
                    return
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: every error becomes the sequence's failure
            self._fail(error)
        finally:
            with self._ending:
                self._thread_ended = True
                if self._let_go:
                    self._close_files()

    def _take_through(self, fence: Command) -> None:
        """Write the blocks queued before the fence; other requests wait for the next turn, when their rows are in."""
        while (item := self.hand_over.queue.get()) is not fence:
            if isinstance(item, Block):
                self._write_block(item)
            elif item is not None and item.kind == "topic":
                self._obey(item)
            elif item is not None:
                self._late.append(item)

    def _turn(self, timeout_s: float) -> dict[str, Any] | None:
        """Take what waits in the queue, at most a few MiB; return the closing words if the end was asked for."""
        taken, closing = 0, None
        late, self._late = self._late, []
        for command in late:
            closing = self._obey(command) or closing
        timeout_s = 0.0 if late else timeout_s
        while taken < _TURN_BYTES:
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
                taken += self._write_block(item)
            elif item is not None:
                closing = self._obey(item) or closing
        return closing

    def _obey(self, command: Command) -> dict[str, Any] | None:
        if command.kind == "topic":
            state: TopicState = command.argument
            self.topics[state.declaration.index] = state
            line = state.declaration.to_json()
            self.segments.append(Kind.TOPIC, state.declaration.index, 0, 0, canonical_json(line), 0)
            journal.append_topic(self.bundle, line, self.platform)
            if self.sealer is not None:
                self.sealer.declare(state.declaration)
            return None
        if command.kind == "written":
            self._tell_written.append(command.argument)
            return None
        if command.kind == "note":
            kind, words = command.argument
            self.segments.append(kind, 0, self.notes, 1, words, 0)
            self.notes += 1
        self._leaving |= command.kind == "leave"
        self._commands.append(command)
        return command.argument if command.kind == "close" else None

    def _write_block(self, block: Block) -> int:
        self.hand_over.take(block)
        state = self.topics[block.lane.declaration.index]
        self._unsynced_block_bytes += block.size_bytes
        if block.on_written is not None:
            self._tell_written.append(block.on_written)
        if block.payload is None:
            self._drop(state, block.rows, block.cause)
        else:
            self._rows(state, block.lane, block.payload, block.rows, block.batch)
        return block.size_bytes

    def _drop(self, state: TopicState, rows: int, cause: str) -> None:
        payload = canonical_json({"cause": cause, "rows": rows})
        self.segments.append(Kind.DROP, state.declaration.index, state.next_seq, rows, payload, 0)
        state.next_seq += rows
        state.dropped += rows
        self._count(state, rows)

    def _rows(
        self,
        state: TopicState,
        lane: PackedLane | GeneralLane,
        payload: Any,
        rows: int,
        batch: pa.RecordBatch | None,
    ) -> None:
        if isinstance(payload, list):
            batch = rows_to_batch(state.declaration, payload)
            payload = batch.serialize()
        if batch is None:
            assert state.layout is not None
            kind, value_bytes = Kind.PACKED, rows * state.layout.value_bytes
        else:
            kind = Kind.ARROW
            fixed = state.layout
            value_bytes = rows * fixed.value_bytes if fixed else int(batch_value_bytes(batch).sum())
        flags = 0
        if lane.unstamped_rows:
            flags = CLOCK_USED | (CLOCK_ONLY if lane.unstamped_rows >= lane.offered_rows else 0)
        self.segments.append(
            kind, state.declaration.index, state.next_seq, rows, memoryview(payload), value_bytes, flags
        )
        state.next_seq += rows
        self._count(state, rows)

    def _count(self, state: TopicState, rows: int) -> None:
        if not self._unsynced:
            self._oldest_ns = time.monotonic_ns()
        self._unsynced.append((state, state.next_seq))
        self._unsynced_rows += rows

    def _steal(self) -> None:
        """Write what every lane holds. A lane with blocks in the queue is not stolen from, to keep its order:
        everything that was pushed there before this call is in those blocks, so writing them is enough."""
        waiting = False
        for state in list(self.topics.values()):
            for lane in list(state.lanes):
                try:
                    stolen = lane.steal()
                except BlocksWaiting:
                    waiting = True
                    continue
                if stolen is not None:
                    self._rows(state, lane, stolen[0], stolen[1], None)
        if waiting:
            fence = Command("fence")
            self.hand_over.queue.put(fence)
            self._take_through(fence)

    def _end_lanes(self) -> None:
        """Take the last rows of every lane: a push under way in another thread is taken whole or refused."""
        rests = [(lane, lane.end()) for lane in list(self._lanes)]
        fence = Command("fence")
        self.hand_over.queue.put(fence)
        self._take_through(fence)  # blocks handed over before the end come first
        for lane, rest in rests:
            if rest is not None:
                self._rows(self.topics[lane.declaration.index], lane, rest[0], rest[1], None)

    def _sync_wanted(self) -> bool:
        knobs = self.durability
        # producers wait at max_unsynced_bytes, so a sync must start well before it
        if self.segments.pending_bytes >= min(knobs.flush_bytes, knobs.max_unsynced_bytes // 2):
            return True
        return knobs.flush_rows is not None and self._unsynced_rows >= knobs.flush_rows

    def _commit(self, closing: dict[str, Any] | None) -> None:
        if closing is not None:
            self.segments.append(Kind.CLOSE, 0, 0, 0, canonical_json(closing | self.last_words()), 0)
        self._write()
        began = time.monotonic_ns()
        self.segments.sync()
        ended = time.monotonic_ns()
        if self._unsynced:
            self.health.synced(ended - began, ended - self._oldest_ns)
        self._publish()
        advanced = self._advance()
        self.hand_over.release(self._unsynced_block_bytes)
        self._unsynced_block_bytes = self._unsynced_rows = 0
        commands, self._commands = self._commands, []
        if closing is not None:  # a flush that came behind the end: everything is durable
            late = [command for command in self._late if command.kind == "flush"]
            self._late = [command for command in self._late if command.kind != "flush"]
            commands += late
        for command in commands:
            command.done.set()
        for state in advanced:
            self._tell(state)

    def _write(self) -> None:
        """Put what is queued into the file, without a sync: a kill finds it, a power cut may not."""
        self.segments.write()
        told, self._tell_written = self._tell_written, []
        for tell in told:
            tell()

    def _publish(self) -> None:
        generation = self.sealer.generation if self.sealer is not None else 0
        position = (self.segments.number, self.segments.offset, generation)
        if position != self._published:
            self.watermark.publish(*position, self.platform.boot_ns())
            self._published = position

    def _advance(self) -> list[TopicState]:
        for state, seq in self._unsynced:
            state.durable_seq = seq
            state.durable_dropped = state.dropped
        advanced = list({id(state): state for state, _ in self._unsynced}.values())
        self._unsynced = []
        return advanced

    @staticmethod
    def _tell(state: TopicState) -> None:
        """Call the topic's durability callbacks; one that raises is called no more and its error is kept."""
        for callback in list(state.on_durable):
            try:
                callback(state.durable_rows)
            except BaseException as error:  # noqa: BLE001 - the user's code must not end the recording
                state.callback_error = error
                state.on_durable.remove(callback)

    def last_words(self) -> dict[str, Any]:
        """Return what each topic was offered, for the CLOSE frame or, when the disk is full, the closing file."""
        topics = {}
        for index, state in self.topics.items():
            topics[str(index)] = {"offered": state.offered_rows, "dropped": state.dropped}
        return {
            "topics": topics,
            "max_lag_ns": self.health.lag_max_ns,
            "blocked_ns": self.hand_over.blocked_ns,
        }

    def _segment_closed(self, path: Any) -> None:
        if self.sealer is not None:
            self.sealer.add(path)

    # -- failure -------------------------------------------------------------------------------

    def _sealer_failed(self, error: BaseException) -> None:
        """Called from the sealer's thread: the recording fails loudly instead of growing for ever."""
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        name = self.header["name"]
        failure: GaplessError
        if isinstance(error, GaplessError):
            failure = error
        elif isinstance(error, OSError):
            failure = StorageFailed("the disk refused a write or a sync", sequence=name, found=str(error))
        else:
            failure = WriterDied("the writer thread ended with an error", sequence=name, found=repr(error))
        failure.__cause__ = failure.__cause__ or (error if error is not failure else None)
        if self.failure is None:
            self.failure = failure
        self.refuse(lambda: failure)
        words = {"cause": str(failure), "code": failure.code, "outcome": "failed"} | self.last_words()
        words["timestamp_ns"] = self.now_ns()
        journal.write_closing(self.bundle, json.dumps(words).encode(), self.platform)
        self.hand_over.wake_all()
        for command in [*self._commands, *self._late]:
            command.error = failure
            command.done.set()


__all__ = ["BundleWriter", "Progress", "TopicState"]
