"""One topic of a sequence that is written over the network: rows come in by their arrival numbers, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Final

from gapless.client.batching import BatchShaper, in_frames
from gapless.errors import SchemaRefused, StateError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.client.local_recording import LocalRecording
    from gapless.serve.metrics import Metrics
    from gapless.store.topic_state import TopicState

_MOST_DROPPED: Final = 2**31 - 1  # a frame counts rows in 32 bits
_LONGEST_CAUSE: Final = 200


class IncomingLane:
    """Takes rows from one holder at a time, an exchange. Every method may be called from any thread.

    The server's own hand-over blocks while the disk is behind, so a push returns when there is room.
    """

    def __init__(self, recording: LocalRecording, state: TopicState, metrics: Metrics) -> None:
        self.declaration = state.declaration
        self.next_seq = state.next_seq  # of the rows handed over, durable or not
        self._sequence = str(recording.header["name"])
        self._state = state
        self._metrics = metrics
        self._counted_rows = state.durable_rows
        self._lane = recording.lane(state)
        self._lane.gives_way = False  # the network's threads leave the interpreter to others often enough
        self._shaper = BatchShaper(self._sequence, state.declaration)
        self._lock = threading.Lock()
        self._holder: object = None
        self._told: Callable[[], None] | None = None
        self._known: pa.Schema | None = None  # the last schema that was compared
        state.on_durable.append(self._durable)

    @property
    def durable_seq(self) -> int:
        """Every arrival number below it is durable."""
        return self._state.durable_seq

    def _durable(self, rows: int) -> None:
        self._metrics.add("gapless_accepted_rows_total", rows - self._counted_rows)
        self._counted_rows = rows
        told = self._told
        if told is not None:
            told()

    def take_over(self, holder: object, told: Callable[[], None]) -> int:
        """Let a new holder push, and none before it; return the next arrival number.

        ``told()`` is called on the writer's thread after each sync that covers new rows, and must not wait.
        """
        with self._lock:
            self._holder, self._told = holder, told
            return self.next_seq

    def leave(self, holder: object) -> None:
        """Forget a holder that ends; one that was superseded is forgotten already."""
        with self._lock:
            if self._holder is holder:
                self._holder = self._told = None

    def expel(self) -> None:
        """Let nobody push until the topic is taken over again."""
        with self._lock:
            self._holder = self._told = None

    @property
    def is_held(self) -> bool:
        """Whether an exchange is there that nobody has superseded."""
        return self._holder is not None

    def push(self, holder: object, first_seq: int, batch: pa.RecordBatch, unstamped: int) -> int:
        """Take rows from an arrival number on, pass over those that are here, and return how many were new.

        ``unstamped`` of them have the time of the client's clock for the sequence; the batch's schema has been
        checked. Raises ValueRefused, RecordTooLarge (nothing of the batch is taken), StateError for a hole in
        the numbers.
        """
        with self._lock:
            self._check_holder(holder)
            rest = batch.slice(self._skip(first_seq, batch.num_rows))
            if not rest.num_rows:
                return 0
            pieces = list(in_frames(self._shaper.from_batch(rest, None)))
            for piece in pieces:
                self._lane.hand_over.check_record(self.declaration.name, piece.nbytes)
            self._lane.unstamped_rows += max(0, min(unstamped, rest.num_rows))
            self._lane.owner = get_ident()  # the lock makes the threads take turns
            for piece in pieces:
                self._lane.push_batch(piece)
                self.next_seq += piece.num_rows
            return int(rest.num_rows)

    def drop(self, holder: object, first_seq: int, rows: int, cause: str) -> None:
        """Count rows that the client gave up, in their place. Raises UsageError, StateError."""
        if not 0 < rows <= _MOST_DROPPED:
            raise UsageError(
                "so many rows cannot be given up", found=rows, expected=f"1 to {_MOST_DROPPED:,}"
            )
        if not cause or not cause.isprintable() or len(cause) > _LONGEST_CAUSE:
            raise UsageError("rows are given up for a cause in words", field="cause", found=repr(cause))
        with self._lock:
            self._check_holder(holder)
            rest = rows - self._skip(first_seq, rows)
            if rest:
                self._lane.owner = get_ident()
                self._lane.drop(rest, cause)
                self.next_seq += rest

    def _check_holder(self, holder: object) -> None:
        if self._holder is not holder:
            raise StateError(
                "another connection took the topic over",
                sequence=self._sequence,
                topic=self.declaration.name,
                next_step="write one sequence from one program",
            )

    def check_schema(self, found: pa.Schema) -> None:
        """Raise SchemaRefused for columns that are not the topic's."""
        expected = self._shaper.schema
        if self._known is None or not self._known.equals(found):
            if not expected.equals(found):
                raise SchemaRefused(
                    "rows have other columns than the topic",
                    sequence=self._sequence,
                    topic=self.declaration.name,
                    found=str(found),
                    expected=str(expected),
                )
            self._known = found

    def _skip(self, first_seq: int, rows: int) -> int:
        """Return how many of the rows are here already."""
        if first_seq > self.next_seq:
            raise StateError(
                "rows before these are missing",
                sequence=self._sequence,
                topic=self.declaration.name,
                found=f"row {first_seq}",
                expected=f"row {self.next_seq}",
                next_step="send the rows from the expected one on",
            )
        return min(rows, self.next_seq - first_seq)
