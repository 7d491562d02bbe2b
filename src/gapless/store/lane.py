"""Lanes: where a producer's thread leaves rows, and where the writer thread takes them.

A lane has one producer. The writer thread takes whole blocks from the queue when a lane hands them over,
and every flush window takes the filled part of the block in progress ("steal"). The producer pays for
neither: no lock is taken per row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.errors import GaplessError, RecordTooLarge, ValueRefused, WrongProcess, WrongThread
from gapless.store.cells import MISSING, build_column, cell_for
from gapless.store.declaration import TopicDeclaration
from gapless.store.handover import Command
from gapless.store.packing import Layout, check_time, compile_push

if TYPE_CHECKING:
    from gapless.store.handover import HandOver

FIRST_BLOCK_BYTES = 4 << 10  # small, so that a thousand quiet topics cost 4 MiB
BLOCK_BYTES = 256 << 10  # one write of this size costs about 0.1 ms; larger ones gain nothing
BLOCK_ROWS = 8192
LANE_VALUE_BYTES = 256 << 10


class BlocksWaiting(Exception):
    """The lane's earlier blocks are still in the queue."""


class Lane:
    """What both lanes share: the owner's check, the hand-over, the refusal after an end."""

    def __init__(self, hand_over: HandOver, declaration: TopicDeclaration, now_ns: Callable[[], int]) -> None:
        self.hand_over = hand_over
        self.declaration = declaration
        self.now_ns = now_ns
        self.lock = threading.Lock()  # between this lane's hand-over and the writer's steal; never per row
        self.owner: int | None = None
        self.refusal: Callable[[], Exception] | None = None
        self.queued = 0  # blocks handed over that the writer has not taken yet
        self.on_refused: Callable[[GaplessError], None] | None = (
            None  # told of refused rows, before the caller
        )
        self.unstamped_rows = 0  # rows stamped by the sequence's clock
        self.handed_rows = 0
        self.gives_way = True  # to the background sealer, while that is behind
        self.ended = False  # the writer took the last rows: whatever comes now is refused

    @property
    def sequence(self) -> str:
        """The sequence's name, for messages."""
        return self.hand_over.sequence

    def admit(self) -> None:
        """Return when this thread may push, or raise what forbids it."""
        if self.refusal is not None:
            raise self.refusal()
        if self.owner is None:
            self.owner = get_ident()
            self._set_owner(self.owner)
        elif self.owner != get_ident():
            raise WrongThread(
                "a topic writer was used from a second thread",
                sequence=self.sequence,
                topic=self.declaration.name,
                found=threading.current_thread().name,
            )

    def refuse(self, reason: Callable[[], Exception]) -> None:
        """Make every later push raise ``reason()``."""
        self.refusal = reason
        self._set_owner(-1)

    def check_open(self) -> None:
        """Raise the refusal when the writer has taken the last rows; the caller holds the lane's lock."""
        if self.ended:
            assert self.refusal is not None
            raise self.refusal()

    def took_block(self) -> None:
        """Called by the writer when it takes one of this lane's blocks from the queue."""
        with self.lock:
            self.queued -= 1

    def _set_owner(self, ident: int) -> None:
        """Tell the compiled push who may push."""

    def tell_refused(self, error: GaplessError) -> None:
        """Let the topic writer note an error that the caller is about to see."""
        if self.on_refused is not None:
            self.on_refused(error)

    def check_seq(self, seq: int | None) -> int | None:
        """Return the producer's seq as int, or raise ValueRefused where it is missing, unwanted or no int."""
        wanted = self.declaration.producer_seq
        if wanted and not (isinstance(seq, int | np.integer) and -(2**63) < int(seq) < 2**63):
            raise ValueRefused(
                "the topic's producer numbers its messages",
                sequence=self.sequence,
                topic=self.declaration.name,
                field="seq",
                found=repr(seq),
                expected="int",
            )
        if not wanted and seq is not None:
            raise ValueRefused(
                "the topic was created without producer_seq=True",
                sequence=self.sequence,
                topic=self.declaration.name,
                field="seq",
                found=repr(seq),
                expected="no seq",
            )
        return None if seq is None else int(seq)

    def time_of(self, timestamp_ns: Any) -> int:
        """Return the stamp to store, from the sequence's clock where the producer gave none."""
        if timestamp_ns is None:
            self.unstamped_rows += 1
            return self.now_ns()
        return check_time(timestamp_ns, self.sequence, self.declaration.name)


class PackedLane(Lane):
    """Rows of fixed width, packed in place by a function compiled from the schema."""

    def __init__(self, hand_over: HandOver, layout: Layout, now_ns: Callable[[], int]) -> None:
        super().__init__(hand_over, layout.declaration, now_ns)
        self.layout = layout
        self.buffer = bytearray(self._capacity(FIRST_BLOCK_BYTES))
        self.taken = 0  # bytes of the block in progress that the writer has taken
        make = compile_push(layout)
        self.push_row, self._position, self._put, self._renew, self._own, self._end = make(
            self, layout.struct.pack_into, get_ident, self._slow, self._roll
        )

    def _capacity(self, size_bytes: int) -> int:
        rows = max(1, min(BLOCK_ROWS, size_bytes // self.layout.row_bytes))
        return rows * self.layout.row_bytes

    def _set_owner(self, ident: int) -> None:
        self._own(ident)

    @property
    def offered_rows(self) -> int:
        """Rows accepted by this lane so far."""
        with self.lock:
            if self.ended:
                return self.handed_rows
            return self.handed_rows + int(self._position()[1]) // self.layout.row_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes that the block in progress holds and that ask for room when it is full."""
        return 0 if self.ended else int(self._position()[1]) - self.taken

    def _slow(self, timestamp_ns: Any, *rest: Any) -> None:
        """Take a row that the compiled push could not: first use, nulls, no stamp, or an error to name."""
        self.admit()
        buffer, filled = self._position()
        if filled >= len(buffer):  # a signal came between the last row and its hand-over
            self._roll()
        seq, values = rest if self.declaration.producer_seq else (None, rest[0])
        values = tuple(v for v in values if v is not MISSING)
        try:
            row = self.layout.slow_row(self.sequence, 0, 0, values)
            seq = self.check_seq(seq)
            stamp = self.time_of(timestamp_ns)
        except ValueRefused as error:
            self.tell_refused(error)
            raise
        head = self.layout.struct.unpack(row)[1 + self.declaration.producer_seq :]
        lead = (stamp, seq) if self.declaration.producer_seq else (stamp,)
        self._put(self.layout.struct.pack(*lead, *head))

    def _roll(self) -> None:
        """Hand the full block over and begin a new one; on refusal the last row is withdrawn."""
        with self.lock:
            if self.ended:
                _, late = self._end(bytearray())
                if not late:  # the writer took the full block before it rolled: the push succeeded
                    return
            self.check_open()
            buffer, filled = self._position()
            taken = self.taken
        room = filled - taken
        try:
            if room:
                self.hand_over.reserve(self, room)
        except BaseException as error:  # Ctrl-C may end the wait for room as well
            with self.lock:
                if not self.ended and self.taken <= filled - self.layout.row_bytes:
                    self._renew(buffer, filled - self.layout.row_bytes)
                    raise
            # the writer took the row meanwhile: it is recorded, so the push succeeded
            self._begin_block(buffer, filled, 0)
            if not isinstance(error, GaplessError):  # a person's Ctrl-C is not the push's to answer
                raise
            return
        self._begin_block(buffer, filled, room)

    def _begin_block(self, buffer: bytearray, filled: int, reserved: int) -> None:
        with self.lock:
            if self.ended:  # the writer took these rows at the end
                self.hand_over.release(reserved)
                return
            rest = filled - self.taken
            if rest:
                payload = memoryview(buffer)[self.taken : filled]
                self.hand_over.put(self, payload, rest // self.layout.row_bytes, rest)
            self.hand_over.release(reserved - rest)
            self.handed_rows += filled // self.layout.row_bytes
            self.taken = 0
            self._renew(bytearray(self._capacity(min(BLOCK_BYTES, 2 * len(buffer)))))

    def steal(self) -> tuple[bytes, int] | None:
        """Return (payload, rows) of what the block in progress holds beyond what was taken before.

        Raises BlocksWaiting while earlier blocks are in the queue: their rows come first.
        """
        with self.lock:
            if self.queued:
                raise BlocksWaiting
            buffer, filled = self._position()
            if filled <= self.taken:
                return None
            payload = bytes(memoryview(buffer)[self.taken : filled])
            self.taken = filled
            return payload, len(payload) // self.layout.row_bytes

    def end(self) -> tuple[bytes, int] | None:
        """Return what the block in progress still holds; a push under way is in it or is refused."""
        with self.lock:
            buffer, filled = self._end(bytearray())
            self.ended = True
            payload = bytes(memoryview(buffer)[self.taken : filled])
            self.handed_rows += filled // self.layout.row_bytes
            self.taken = 0
            return (payload, len(payload) // self.layout.row_bytes) if payload else None

    def push_batch(self, batch: pa.RecordBatch) -> None:
        """Hand over rows given as one batch of the declared schema (and ``_seq`` where the topic has one)."""
        self.admit()
        self._cut()
        _push_batch(self, batch)

    def drop(self, rows: int, cause: str) -> None:
        """Count rows that a policy keeps out of the topic, in their place."""
        self.admit()
        self._cut()
        _put_drop(self, rows, cause)

    def _cut(self) -> None:
        """Hand over what the block holds so that later rows come behind it."""
        buffer, filled = self._position()
        if filled:
            self.hand_over.reserve(self, filled)
            self._begin_block(buffer, filled, filled)


class GeneralLane(Lane):
    """Rows with text, bytes, lists or nested values, kept as tuples until the writer makes columns."""

    def __init__(self, hand_over: HandOver, declaration: TopicDeclaration, now_ns: Callable[[], int]) -> None:
        super().__init__(hand_over, declaration, now_ns)
        self.columns = list(declaration.schema)[1:]
        self.cells = [cell_for(column) for column in self.columns]
        self.rows: list[tuple[Any, ...]] = []
        self.taken = 0
        self.value_bytes = 0

    @property
    def offered_rows(self) -> int:
        """Rows accepted by this lane so far."""
        with self.lock:
            return self.handed_rows + len(self.rows)

    @property
    def pending_bytes(self) -> int:
        """Bytes that the rows in progress hold and that ask for room when there are enough."""
        return self.value_bytes

    def push_row(self, timestamp_ns: Any = MISSING, *values: Any) -> None:
        """Take one row: time, the producer's seq where the topic has one, then the leaves in order."""
        if get_ident() != self.owner or self.refusal is not None:
            self.admit()
        seq = None
        if self.declaration.producer_seq:
            seq, *rest = values or (None,)
            values = tuple(rest)
        try:
            row, size = self._check(values)
            seq = self.check_seq(seq)
            self.hand_over.check_record(self.declaration.name, size)
            stamp = self.time_of(timestamp_ns)
        except (ValueRefused, RecordTooLarge) as error:
            self.tell_refused(error)
            raise
        self._append((stamp, *((seq,) if self.declaration.producer_seq else ()), *row), size)

    def _check(self, values: tuple[Any, ...]) -> tuple[list[Any], int]:
        if len(values) != len(self.cells):
            raise ValueRefused(
                "a row has the wrong number of values",
                sequence=self.sequence,
                topic=self.declaration.name,
                found=f"{len(values)} values",
                expected=f"{len(self.cells)}: {', '.join(c.name for c in self.columns)}",
            )
        row: list[Any] = []
        size = 8
        for column, cell, value in zip(self.columns, self.cells, values, strict=True):
            if value is None and column.nullable:
                row.append(None)
                continue
            try:
                stored, width = cell(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise ValueRefused(
                    f"a value does not fit its field: {error}",
                    sequence=self.sequence,
                    topic=self.declaration.name,
                    field=column.name,
                    found=repr(value),
                    expected=str(column.type),
                ) from error
            row.append(stored)
            size += width
        return row, size

    def _append(self, row: tuple[Any, ...], size: int) -> None:
        full = self.value_bytes + size >= LANE_VALUE_BYTES or len(self.rows) + 1 >= BLOCK_ROWS
        if full:  # room first: a refusal then leaves the lane as it was
            self.hand_over.reserve(self, self.value_bytes + size)
        with self.lock:
            if self.ended and full:
                self.hand_over.release(self.value_bytes + size)
            self.check_open()
            self.rows.append(row)
            self.value_bytes += size
        if full:
            self._begin_block(self.value_bytes)

    def hand_on(self, on_written: Callable[[], None]) -> None:
        """Hand over what the lane holds, to be written at once: a kill then finds it in the file.

        ``on_written`` is called on the writer's thread and must not wait.
        """
        self.hand_over.reserve(self, self.value_bytes)
        self._begin_block(self.value_bytes, on_written)

    def _begin_block(self, reserved: int, on_written: Callable[[], None] | None = None) -> None:
        with self.lock:
            if self.ended:  # the writer took these rows at the end
                self.hand_over.release(reserved)
                if on_written is not None:
                    on_written()
                return
            rows = self.rows[self.taken :]
            if rows:
                self.hand_over.put(self, rows, len(rows), reserved, on_written=on_written)
            else:
                self.hand_over.release(reserved)
                if on_written is not None:  # the rows are on their way already: in a full block, or stolen
                    self.hand_over.queue.put(Command("written", on_written))
            self.handed_rows += len(self.rows)
            self.rows = []
            self.taken = 0
            self.value_bytes = 0

    def steal(self) -> tuple[list[tuple[Any, ...]], int] | None:
        """Return (rows, count) as :meth:`PackedLane.steal` does."""
        with self.lock:
            if self.queued:
                raise BlocksWaiting
            rows = self.rows[self.taken :]
            self.taken += len(rows)
            return (rows, len(rows)) if rows else None

    def end(self) -> tuple[list[tuple[Any, ...]], int] | None:
        """Return (rows, count) as :meth:`PackedLane.end` does."""
        with self.lock:
            self.ended = True
            rows = self.rows[self.taken :]
            self.handed_rows += len(self.rows)
            self.rows, self.taken, self.value_bytes = [], 0, 0
            return (rows, len(rows)) if rows else None

    def push_batch(self, batch: pa.RecordBatch) -> None:
        """Hand over rows given as one batch of the declared schema (and ``_seq`` where the topic has one)."""
        self.admit()
        self._cut()
        _push_batch(self, batch)

    def drop(self, rows: int, cause: str) -> None:
        """Count rows that a policy keeps out of the topic, in their place."""
        self.admit()
        self._cut()
        _put_drop(self, rows, cause)

    def _cut(self) -> None:
        """Hand over what the block holds so that later rows come behind it."""
        if self.rows:
            self.hand_over.reserve(self, self.value_bytes)
            self._begin_block(self.value_bytes)


def _put_drop(lane: PackedLane | GeneralLane, rows: int, cause: str) -> None:
    with lane.lock:
        lane.check_open()
        lane.hand_over.put(lane, None, rows, 0, cause=cause)
        lane.handed_rows += rows


def _push_batch(lane: PackedLane | GeneralLane, batch: pa.RecordBatch) -> None:
    """Serialise a batch (which copies it, so the caller may reuse its arrays) and hand it over in slices."""
    payload = batch.serialize()
    lane.hand_over.reserve(lane, payload.size)
    with lane.lock:
        if lane.ended:
            lane.hand_over.release(payload.size)
        lane.check_open()
        lane.hand_over.put(lane, payload, batch.num_rows, payload.size, batch)
        lane.handed_rows += batch.num_rows


def rows_to_batch(declaration: TopicDeclaration, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    """Return the general lane's rows as one batch: the declared columns, then ``_seq`` if the producer gave it."""
    columns = list(zip(*rows, strict=True))
    lead = 1 + declaration.producer_seq
    fields = [declaration.schema.field(0)]
    arrays = [pa.array(columns[0], pa.int64())]
    for column, values in zip(list(declaration.schema)[1:], columns[lead:], strict=True):
        fields.append(column)
        arrays.append(build_column(column, values))
    if declaration.producer_seq:
        fields.append(declaration.stored_schema.field("_seq"))
        arrays.append(pa.array(columns[1], pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def forked(sequence: str) -> Exception:
    """Return the error of a push in a forked child."""
    return WrongProcess("a writer was inherited by a forked child", sequence=sequence)


__all__ = ["BlocksWaiting", "GeneralLane", "Lane", "PackedLane", "forked", "rows_to_batch"]
