"""Writing one topic: the object that ``topic_create`` returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.client.batching import FRAME_BYTES, BatchShaper, in_frames
from gapless.client.quarantine import Quarantined
from gapless.errors import GaplessError, RecordTooLarge, ValueRefused, WriterClosed
from gapless.model.ledger import Ledger
from gapless.model.message import Message, row_reader
from gapless.model.outcome import TopicErrorPolicy, TopicStatus
from gapless.store.frame import Kind
from gapless.store.writer import TopicState

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.client.sequence_writer import SequenceWriter

_STATUS = {
    TopicErrorPolicy.Ignore: TopicStatus.IGNORED_LAST_ERROR,
    TopicErrorPolicy.Finalize: TopicStatus.FINALIZED_WITH_ERROR,
    TopicErrorPolicy.Quarantine: TopicStatus.QUARANTINED_LAST_ERROR,
}


class TopicWriter:
    """Pushes rows into one topic from one thread; :meth:`lane` gives another thread its own.

    When a push returns, the row is the recorder's: the caller may change its arrays, and the row is
    durable within the client's flush window. When a push raises, the row was not taken and everything
    before it is unharmed.
    """

    def __init__(
        self, sequence: SequenceWriter, state: TopicState, ontology_type: Any, on_error: TopicErrorPolicy
    ) -> None:
        self._sequence = sequence
        self._state = state
        self._type = ontology_type
        self.on_error = on_error
        self.name = state.declaration.name
        self.metadata = state.declaration.metadata
        self.schema = state.declaration.schema
        self.status = TopicStatus.ACTIVE
        self.last_error: GaplessError | None = None
        self._lane = sequence._writer.lane(state)
        self._shaper = BatchShaper(sequence.name, state.declaration)
        columns = list(state.declaration.schema)[1:]
        self._read = row_reader(ontology_type, [c.name for c in columns], [c.nullable for c in columns])
        self._kept: list[Quarantined] = []
        self._push_row = self._lane.push_row
        if on_error is TopicErrorPolicy.Raise:  # the compiled function itself: nothing stands between
            self.push_row = self._lane.push_row  # type: ignore[method-assign] # the compiled one
            self._lane.on_refused = self._note_refusal

    # -- pushing -------------------------------------------------------------------------------

    def push(
        self, message: Message | Any = None, *, timestamp_ns: int | None = None, data: Any = None
    ) -> None:
        """Record one message: ``push(Message(timestamp_ns=t, data=IMU(...)))``.

        The data is an object of the topic's ontology type, a mapping of column name to value, or a tuple
        in column order. Without a time the sequence's clock stamps it. Raises ValueRefused, naming the
        field, under the policy Raise.
        """
        if message is None or not isinstance(message, Message):
            message = Message(timestamp_ns, message if message is not None else data)
        try:
            values = self._read(message.data)
            if self._state.declaration.producer_seq:
                self._lane.push_row(message.timestamp_ns, message.seq, *values)
            else:
                if message.seq is not None:
                    self._lane.check_seq(message.seq)
                self._lane.push_row(message.timestamp_ns, *values)
        except (ValueRefused, RecordTooLarge) as error:
            self._refused(self._placed(error), message.timestamp_ns, message.data)

    def push_row(self, timestamp_ns: int | None, *values: Any) -> None:
        """Record one row given as plain values in column order: the fast way for single rows.

        ``timestamp_ns`` None: the sequence's clock. In a topic with producer_seq=True the producer's seq
        comes second. Raises ValueRefused naming the field under the policy Raise.
        """
        try:
            self._push_row(timestamp_ns, *values)
        except (ValueRefused, RecordTooLarge) as error:
            self._refused(error, timestamp_ns, list(values))

    def push_columns(self, timestamps_ns: Any, columns: Mapping[str, Any], *, seq: Any = None) -> None:
        """Record many rows given as one array per column; the fast way for blocks.

        ``timestamps_ns``: int64 array of the rows' times, or None for the sequence's clock. Arrays are
        copied before the call returns. Nullable columns may be left out. When a value is refused none of the
        rows is taken; when the recording fails in the middle the ledger tells how many were.
        """
        try:
            columns = self._shaper.check_columns(columns)
            unstamped = 0
            if timestamps_ns is None:
                unstamped = self._shaper.length(*next(iter(columns.items())))
                timestamps_ns = np.full(unstamped, self._sequence.now_ns(), np.int64)
            batch = self._shaper.from_columns(timestamps_ns, columns, seq)
            self._lane.unstamped_rows += unstamped
            self._push_all(batch)
        except (ValueRefused, RecordTooLarge) as error:
            known = dict(columns) if isinstance(columns, Mapping) else {"columns": columns}
            self._refused(error, None, {"timestamp_ns": timestamps_ns, **known}, _row_count(known))

    def push_batch(self, batch: Any) -> None:
        """Record the rows of an Arrow batch or table, or of any table that gives itself to Arrow; columns by name.

        A batch without ``timestamp_ns`` is stamped by the sequence's clock. Refusal and failure: as push_columns.
        """
        try:
            batch = self._shaper.as_batch(batch)
            stamp = None
            if "timestamp_ns" not in batch.schema.names:
                stamp = self._sequence.now_ns()
            shaped = self._shaper.from_batch(batch, stamp)
            self._lane.unstamped_rows += 0 if stamp is None else batch.num_rows
            self._push_all(shaped)
        except (ValueRefused, RecordTooLarge) as error:
            arrow = hasattr(batch, "to_pydict")
            self._refused(
                error, None, batch.to_pydict() if arrow else {"batch": batch}, batch.num_rows if arrow else 1
            )

    def _push_all(self, batch: pa.RecordBatch) -> None:
        largest = self._lane.hand_over.max_record_bytes
        pieces = list(in_frames(batch, min(2 * FRAME_BYTES, largest // 2)))  # views: nothing is copied yet
        for piece in pieces:
            if piece.get_total_buffer_size() * piece.num_columns > largest:
                self._lane.hand_over.check_record(self.name, piece.nbytes)
        for piece in pieces:
            self._lane.push_batch(piece)

    def lane(self) -> TopicWriter:
        """Return a writer into the same topic for use from another thread."""
        self._sequence._check_active()
        other = TopicWriter(self._sequence, self._state, self._type, self.on_error)
        other.status = self.status
        return other

    # -- policies ------------------------------------------------------------------------------

    def _placed(self, error: ValueRefused | RecordTooLarge) -> ValueRefused | RecordTooLarge:
        """Return the error with sequence and topic named."""
        if error.topic is not None:
            return error
        placed = type(error)(
            error.message,
            sequence=self._sequence.name,
            topic=self.name,
            field=error.field,
            found=error.found,
            expected=error.expected,
        )
        placed.__cause__ = error
        return placed

    def _refused(
        self, error: ValueRefused | RecordTooLarge, timestamp_ns: Any, values: Any, rows: int = 1
    ) -> None:
        """Apply the topic's policy to a push that was refused."""
        self.last_error = error
        if self.on_error is TopicErrorPolicy.Raise:
            self.status = TopicStatus.RAISED_EXCEPTION
            raise error
        self.status = _STATUS[self.on_error]
        self._lane.drop(rows, str(self.on_error))
        if self.on_error is TopicErrorPolicy.Quarantine:
            kept = Quarantined.of(timestamp_ns, values, error)
            self._kept.append(kept)
            self._sequence._quarantine(self.name, kept)
            return
        self._sequence.notify(str(error), topic=self.name)
        if self.on_error is TopicErrorPolicy.Finalize:
            self._close()

    def _note_refusal(self, error: GaplessError) -> None:
        self.status = TopicStatus.RAISED_EXCEPTION
        self.last_error = error

    def quarantined(self) -> list[Quarantined]:
        """Return the rows refused under the policy Quarantine and not pushed again yet."""
        return list(self._kept)

    def repush(self, fix: Callable[[Quarantined], Message | tuple[Any, ...] | None]) -> int:
        """Push quarantined rows again as ``fix`` returns them; return how many were accepted.

        ``fix`` gets a :class:`Quarantined` and returns a Message, a tuple (time, values…), or None to
        leave the row where it is. A row that is refused again stays.
        """
        accepted = 0
        waiting, self._kept = self._kept, []
        while waiting:
            try:
                row = fix(waiting[0])
                if row is None:
                    self._kept.append(waiting[0])
                else:
                    self._push_fixed(row)
                    accepted += 1
            except (ValueRefused, RecordTooLarge) as error:
                self.last_error = error
                self._kept.append(waiting[0])
            except BaseException:  # what was not looked at yet, this row included, stays
                self._kept += waiting
                raise
            waiting.pop(0)
        return accepted

    def _push_fixed(self, row: Message | tuple[Any, ...]) -> None:
        if isinstance(row, Message):
            lead = (
                (row.timestamp_ns, row.seq) if self._state.declaration.producer_seq else (row.timestamp_ns,)
            )
            self._lane.push_row(*lead, *self._read(row.data))
        else:
            self._lane.push_row(*row)

    # -- state ---------------------------------------------------------------------------------

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when everything pushed to the topic before the call is durable. Works from any thread."""
        self._sequence._writer.flush_topic(self._state, timeout_s)

    @property
    def durable_rows(self) -> int:
        """Rows of the topic that are on the disk and synced, counted without waiting."""
        return self._state.durable_rows

    @property
    def accepted_rows(self) -> int:
        """Rows of the topic that are durable where the sequence is: on the server, or, in a folder, here."""
        return self._sequence._writer.accepted_rows(self._state)

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Call ``callback(durable_rows)`` from the writer's thread after each sync that covers new rows.

        A callback that raises is called no more; its error is :attr:`callback_error`.
        """
        self._state.on_durable.append(callback)

    @property
    def callback_error(self) -> BaseException | None:
        """What a durability callback raised, if one did."""
        return self._state.callback_error

    @property
    def ledger(self) -> Ledger:
        """What became of the rows offered so far."""
        return self._sequence._writer.ledger(self._state)

    def gap(
        self,
        count: int | None,
        cause: str,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        durable: bool = True,
    ) -> None:
        """Record that the source produced nothing, or ``count`` messages that are lost; durable on return.

        ``durable=False`` returns without the sync, for a loop that must go on. A gap with a count is added to
        what was produced. Use it for a pause, a reconnect, a device's own overrun counter. Raises ValueRefused
        for a count below 1 or a span that ends before it starts.
        """
        self._check_gap(count, cause, start_ns, end_ns)
        count, start_ns, end_ns = (None if n is None else int(n) for n in (count, start_ns, end_ns))
        writer = self._sequence._check_active()
        words = {
            "timestamp_ns": writer.now_ns() if start_ns is None else start_ns,
            "topic": self.name,
            "first_seq": None,
            "count": count,
            "end_ns": end_ns,
            "cause": cause,
        }
        writer.note(Kind.GAP, words, wait=durable)
        self._state.gapped += count or 0

    def _check_gap(self, count: Any, cause: Any, start_ns: Any, end_ns: Any) -> None:
        where = {"sequence": self._sequence.name, "topic": self.name}
        if not isinstance(cause, str) or not cause or not cause.isprintable():
            raise ValueRefused("a gap needs a cause in words", **where, field="cause", found=repr(cause))
        for name, value, least in (
            ("count", count, 1),
            ("start_ns", start_ns, 1 - 2**63),
            ("end_ns", end_ns, 1 - 2**63),
        ):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and not (whole and least <= value < 2**63):
                raise ValueRefused(
                    "a gap's numbers are whole",
                    **where,
                    field=name,
                    found=repr(value),
                    expected=f"None or an int from {least}",
                )
        if start_ns is not None and end_ns is not None and end_ns < start_ns:
            raise ValueRefused(
                "a gap ends before it starts", **where, field="end_ns", found=end_ns, expected=start_ns
            )

    def close(self) -> None:
        """Take no more rows; what was pushed stays."""
        if self.status not in (TopicStatus.FINALIZED, TopicStatus.FINALIZED_WITH_ERROR):
            self.status = TopicStatus.FINALIZED
        self._close()

    def _close(self) -> None:
        name = self._sequence.name
        for lane in list(self._state.lanes):
            lane.refuse(lambda: WriterClosed("the topic takes no more rows", sequence=name, topic=self.name))

    def __repr__(self) -> str:
        rows = f"{self.durable_rows} durable rows"
        return f"<TopicWriter {self.name!r} of {self._sequence.name!r}: {self.status}, {rows}>"


def _row_count(columns: Mapping[str, Any]) -> int:
    return max((len(values) for values in columns.values() if hasattr(values, "__len__")), default=1)
