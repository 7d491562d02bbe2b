"""A parcel: rows of one topic as they travel, or the count of rows that a policy gave up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from gapless.store.declaration import SEQ, TopicDeclaration
from gapless.store.lane import rows_to_batch
from gapless.store.packing import Layout

PARCEL_BYTES = 4 << 20
PARCEL_ROWS = 65_536
DROP_ROWS = 2**31 - 1  # a frame counts its rows in 32 bits, and a server takes no larger count


@dataclass(slots=True, eq=False)
class Parcel:
    """``rows`` rows from arrival number ``first_seq`` on. ``batch`` None: given up, for ``cause``.

    ``size_bytes`` is what it weighs on the way, ``reserved_bytes`` what the hand-over gets back when it is
    accepted; ``unstamped`` rows got their time from the sequence's clock.
    """

    first_seq: int
    rows: int
    batch: pa.RecordBatch | None = None
    cause: str = ""
    size_bytes: int = 0
    reserved_bytes: int = 0
    unstamped: int = 0
    on_accepted: list[Callable[[], None]] = field(default_factory=list)

    @property
    def end_seq(self) -> int:
        """The arrival number behind the last row."""
        return self.first_seq + self.rows

    def words(self) -> dict[str, Any]:
        """Return what is said beside the rows, or in their place."""
        if self.batch is None:
            return {"first_seq": self.first_seq, "drop": self.rows, "cause": self.cause}
        return {"first_seq": self.first_seq, "unstamped": self.unstamped}

    def after(self, seq: int) -> Parcel:
        """Return the part of the parcel from ``seq`` on, for a receiver that has the rows before."""
        skip = max(0, seq - self.first_seq)
        if not skip:
            return self
        batch = None if self.batch is None else self.batch.slice(skip)
        rows = self.rows - skip
        size_bytes = 0 if batch is None else batch.nbytes
        return Parcel(seq, rows, batch, self.cause, size_bytes, unstamped=min(self.unstamped, rows))

    def pieces(self, most_bytes: int = PARCEL_BYTES) -> Iterator[Parcel]:
        """Yield the parcel in pieces of at most ``most_bytes`` where its rows are small enough for that.

        A count of rows that were given up comes in pieces of at most DROP_ROWS.
        """
        step = max(1, self.rows * most_bytes // max(1, self.size_bytes))
        if self.batch is None:
            step = DROP_ROWS
        if step >= self.rows:
            yield self
            return
        for start in range(0, self.rows, step):
            rows = min(step, self.rows - start)
            batch = None if self.batch is None else self.batch.slice(start, rows)
            last = start + rows == self.rows
            piece = Parcel(
                self.first_seq + start,
                rows,
                batch,
                self.cause,
                size_bytes=0 if batch is None else batch.nbytes,
                reserved_bytes=self.reserved_bytes if last else 0,
                unstamped=max(0, min(rows, self.unstamped - start)),
                on_accepted=self.on_accepted if last else [],
            )
            yield from piece.pieces(most_bytes)  # a few of the rows may be much larger than the rest


class RowsOnTheWay:
    """Rows taken from a topic's lanes that become one parcel, whatever form the lanes keep them in."""

    def __init__(self, declaration: TopicDeclaration, layout: Layout | None) -> None:
        self._declaration = declaration
        self._layout = layout
        self.schema = declaration.stored_schema if declaration.producer_seq else declaration.schema
        self._packed: list[bytes | memoryview] = []
        self._batches: list[pa.RecordBatch] = []
        self.rows = 0
        self.size_bytes = 0
        self.reserved_bytes = 0
        self.unstamped = 0
        self.on_accepted: list[Callable[[], None]] = []

    @property
    def is_full(self) -> bool:
        """Whether more rows would make the parcel larger than is good."""
        return self.size_bytes >= PARCEL_BYTES or self.rows >= PARCEL_ROWS

    def fits(self, size_bytes: int) -> bool:
        """Tell whether so many bytes more still make one parcel; the first always do."""
        return not self.rows or self.size_bytes + size_bytes <= PARCEL_BYTES

    def add(self, payload: Any, rows: int, *, is_batch: bool) -> None:
        """Add rows: tuples of a general lane, packed bytes, or a batch as one serialised message."""
        if isinstance(payload, list):
            self._add_batch(rows_to_batch(self._declaration, payload))
        elif is_batch:
            self._add_batch(pa.ipc.read_record_batch(payload, self.schema))
        else:
            self._packed.append(payload)
            self.size_bytes += len(payload)
        self.rows += rows

    def _add_batch(self, batch: pa.RecordBatch) -> None:
        self._unpack()
        self._batches.append(pa.RecordBatch.from_arrays(batch.columns, schema=self.schema))
        self.size_bytes += batch.nbytes

    def _unpack(self) -> None:
        """Make columns of the packed rows gathered so far."""
        if not self._packed:
            return
        assert self._layout is not None
        packed = self._packed[0] if len(self._packed) == 1 else b"".join(self._packed)
        batch = self._layout.columns(packed, 0)
        if not self._declaration.producer_seq:
            batch = batch.drop_columns([SEQ])
        self._batches.append(pa.RecordBatch.from_arrays(batch.columns, schema=self.schema))
        self._packed = []

    def parcel(self, first_seq: int) -> Parcel:
        """Return all of it as one parcel."""
        self._unpack()
        batch = self._batches[0] if len(self._batches) == 1 else pa.concat_batches(self._batches)
        return Parcel(
            first_seq,
            self.rows,
            batch,
            size_bytes=self.size_bytes,
            reserved_bytes=self.reserved_bytes,
            unstamped=min(self.unstamped, self.rows),
            on_accepted=self.on_accepted,
        )
