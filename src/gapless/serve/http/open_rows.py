"""The rows of an open sequence, kept between requests: another question costs what came since the last.

:class:`OpenRows` follows one journal. A :class:`Look` is what one question sees of it, the same from its first
scan to its last.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from gapless.model.ledger import Ledger
from gapless.store.declaration import TopicDeclaration
from gapless.store.journal_view import JournalView, Position

MOST_BYTES: Final = 32 << 20  # of one topic; a larger one is read from its journal each time
_MOST_PIECES: Final = 64


class OpenRows:
    """Follows the journal of one open sequence; any thread may ask. FileNotFoundError when the journal is gone."""

    def __init__(self, journal: Path) -> None:
        self.lock = threading.RLock()
        self.view = JournalView.open(journal)
        self._kept: dict[str, _Kept] = {}
        self._too_large: dict[str, int] = {}  # where the rows began that were too many to keep

    def look(self) -> Look:
        """Return what is durable now."""
        return Look(self)

    def rows(self, topic: str) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Yield the topic's rows that are in no part, as ``JournalView.batches`` does; the lock must be held."""
        consumed = self.view.consumed.get(topic, 0)
        if self._too_large.get(topic) == consumed:
            yield from self.view.batches(topic)
            return
        kept = self._kept.setdefault(topic, _Kept())
        kept.forget(consumed)
        for position, batch in self.view.batches(topic, Position(max(kept.end, consumed))):
            kept.add(position.next_seq, batch)
            if kept.size_bytes > MOST_BYTES:
                del self._kept[topic]
                self._too_large[topic] = consumed
                yield from self.view.batches(topic)
                return
        yield from kept.given()


class Look:
    """What one question sees of an open sequence: a :class:`~gapless.store.live_rows.JournalRows` that stands still.

    It moves on only when the rows it promised have gone into parts that it does not know.
    """

    def __init__(self, rows: OpenRows) -> None:
        self._rows = rows
        self._is_stale = True
        self.sequence: Mapping[str, Any] = rows.view.sequence
        self.topics: Mapping[str, TopicDeclaration] = {}
        self.parts: Mapping[str, list[dict[str, Any]]] = {}
        self.ledger: Mapping[str, Ledger] = {}
        self._consumed: Mapping[str, int] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Look again if what was seen cannot be read any more; FileNotFoundError when the journal is gone."""
        if not self._is_stale:
            return False
        with self._rows.lock:
            view = self._rows.view
            view.refresh()
            self.topics, self.parts = dict(view.topics), dict(view.parts)
            self.ledger, self._consumed = view.ledger, dict(view.consumed)
        self._is_stale = False
        return True

    def batches(self, topic: str, after: Any = None) -> Iterator[tuple[Any, pa.RecordBatch]]:
        """Yield the durable rows that are in no part of :attr:`parts`, in order of arrival, each with its position.

        FileNotFoundError when some have become a part meanwhile: :meth:`refresh`, and ask again.
        """
        with self._rows.lock:  # whoever asks takes all of it before anything else
            if self._rows.view.consumed.get(topic, 0) != self._consumed.get(topic, 0):
                self._is_stale = True
                raise FileNotFoundError(self._rows.view.sequence["name"])
            for position, batch in self._rows.rows(topic):
                if after is None or position.next_seq > after.next_seq:
                    yield position, batch.slice(_seen(position, batch, after))


def _seen(position: Position, batch: pa.RecordBatch, after: Position | None) -> int:
    """Return how many rows of a batch lie before a position."""
    return 0 if after is None else max(0, after.next_seq - (position.next_seq - batch.num_rows))


class _Kept:
    """Rows of one topic by their arrival numbers; rows that were dropped leave holes between pieces."""

    def __init__(self) -> None:
        self.end = 0  # the arrival number behind the last row
        self.size_bytes = 0
        self._pieces: list[tuple[int, pa.RecordBatch]] = []
        self._join_at = _MOST_PIECES

    def add(self, end: int, batch: pa.RecordBatch) -> None:
        """Take the rows before the arrival number ``end``."""
        self._pieces.append((end, batch))
        self.end = end
        self.size_bytes += batch.nbytes
        if len(self._pieces) > self._join_at:
            self._pieces = list(_joined(self._pieces))
            self._join_at = max(_MOST_PIECES, 2 * len(self._pieces))

    def forget(self, first: int) -> None:
        """Let the rows before an arrival number go."""
        if any(end - batch.num_rows < first for end, batch in self._pieces):
            left = [(end, batch) for end, batch in self._pieces if end > first]
            self._pieces = [(end, batch.slice(max(0, first - end + batch.num_rows))) for end, batch in left]
            self.size_bytes = sum(batch.nbytes for _, batch in self._pieces)

    def given(self) -> Iterator[tuple[Position, pa.RecordBatch]]:
        """Yield the rows, each piece with the position behind it."""
        for end, batch in self._pieces:
            yield Position(end), batch


def _joined(pieces: list[tuple[int, pa.RecordBatch]]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield pieces that follow each other without a hole as one."""
    run: list[pa.RecordBatch] = []
    last = 0
    for end, batch in pieces:
        if run and end - batch.num_rows != last:
            yield from _one(last, run)
            run = []
        run.append(batch)
        last = end
    yield from _one(last, run)


def _one(end: int, run: list[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    for batch in pa.Table.from_batches(run).combine_chunks().to_batches():
        yield end, batch
