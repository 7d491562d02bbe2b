"""Sorted streams merged into one time-ordered stream, stably and with one batch per open stream in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gapless.store.selection import Times, times_of


@dataclass(frozen=True)
class SortedStream:
    """Rows in time order, none before ``start_ns``; opened only when the merge gets there."""

    start_ns: int
    open: Callable[[], Iterator[pa.RecordBatch]]


class Head:
    """The unread rest of the current batch of one stream; ``order`` decides between equal timestamps."""

    def __init__(self, order: int, batches: Iterator[pa.RecordBatch]) -> None:
        self.order = order
        self._batches = batches
        self.batch: pa.RecordBatch
        self.times: Times
        self.alive = self.advance()

    def advance(self) -> bool:
        """Load the next batch that has rows; False at the end of the stream."""
        for batch in self._batches:
            if batch.num_rows:
                self.batch, self.times = batch, times_of(batch)
                return True
        return False

    @property
    def key(self) -> tuple[int, int]:
        """Time of the last row in memory, then the order of the stream."""
        return int(self.times[-1]), self.order

    def ready(self, cutoff: tuple[int, int]) -> int:
        """Return how many rows come at or before the cutoff; no unread row of any stream precedes them.

        A stream behind the one that set the cutoff must wait with the rows of exactly that time: the
        unread rest of the other may still hold rows of the same time, and those come first.
        """
        cutoff_ns, cutoff_order = cutoff
        return int(np.searchsorted(self.times, cutoff_ns, "right" if self.order <= cutoff_order else "left"))

    def take(self, count: int) -> pa.RecordBatch:
        """Return the first rows and keep the others."""
        taken = self.batch.slice(0, count)
        if count == self.batch.num_rows:
            self.alive = self.advance()
        else:
            self.batch, self.times = self.batch.slice(count), self.times[count:]
        return taken


def merge_sorted(streams: Sequence[SortedStream]) -> Iterator[pa.RecordBatch]:
    """Yield all rows in time order; rows of equal time keep the order of the streams.

    A stretch that only one stream covers passes through without a copy.
    """
    for taken in merged_heads(streams):
        pieces = [batch for _, batch in taken]
        if len(pieces) == 1:
            yield pieces[0]
        else:
            yield from _interleave(pieces)


def merged_heads(streams: Sequence[SortedStream]) -> Iterator[list[tuple[int, pa.RecordBatch]]]:
    """Yield, span after span of time, the pieces (stream number, batch) that together cover the span.

    Pieces are listed by stream number; no row of a later yield precedes a row of an earlier one.
    """
    waiting = sorted(range(len(streams)), key=lambda n: (streams[n].start_ns, n), reverse=True)
    active: list[Head] = []
    while active or waiting:
        cutoff = min((head.key for head in active), default=None)
        if waiting and (cutoff is None or streams[waiting[-1]].start_ns <= cutoff[0]):
            order = waiting.pop()
            head = Head(order, streams[order].open())
            if head.alive:
                active.append(head)
                active.sort(key=lambda h: h.order)
            continue
        if cutoff is None:
            return
        counts = [(head, head.ready(cutoff)) for head in active]
        yield [(head.order, head.take(count)) for head, count in counts if count]
        active = [head for head in active if head.alive]


def _interleave(pieces: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    times = np.concatenate([times_of(piece) for piece in pieces])
    # Stable sort: within a stream rows are sorted already, across streams the order of the list decides.
    # Its cost is near linear here because numpy's stable sort merges runs that are already sorted.
    rows = np.argsort(times, kind="stable")
    merged = pa.Table.from_batches(pieces).combine_chunks().take(pa.array(rows))
    batches: list[pa.RecordBatch] = merged.combine_chunks().to_batches()
    return batches
