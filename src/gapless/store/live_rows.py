"""The rows of an open or pending sequence that are not in a Parquet part yet: one consistent view of both.

While a sequence is open its rows move from journal segments into parts. A view of it is taken so that
each durable row is in it once: the parts are listed, the journal is read, and the list must not have
changed in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gapless.errors import DeadlinePassed
from gapless.model.ledger import Ledger
from gapless.store.declaration import SEQ, TIME, TopicDeclaration
from gapless.store.selection import Selection, Times, batches_of

_CHUNK_BYTES = 32 << 20  # rows of the journal are sorted in pieces of this size, then merged
_ATTEMPTS = 100  # a segment is sealed every 64 MiB, so even two losses of the race in a row are rare


class JournalRows(Protocol):
    """What reading needs of the journal of an open sequence; ``store/journal_view.py`` implements it."""

    @property
    def sequence(self) -> Mapping[str, Any]:
        """Name, group and metadata of the sequence."""

    @property
    def topics(self) -> Mapping[str, TopicDeclaration]:
        """The topics declared so far, in order of creation."""

    @property
    def parts(self) -> Mapping[str, list[dict[str, Any]]]:
        """The synced parts of each topic, as a manifest lists them."""

    @property
    def ledger(self) -> Mapping[str, Ledger]:
        """What is known of produced, written, dropped and gapped per topic."""

    def batches(self, topic: str, after: Any = None) -> Iterator[tuple[Any, pa.RecordBatch]]:
        """Yield the durable rows that are in no part, in order of arrival, each with its position."""

    def refresh(self) -> bool:
        """Look at the files again; True if there is something new."""


def open_journal(journal: Path) -> JournalRows:
    """Return a view of a journal directory; it takes no lock and writes nothing."""
    from gapless.store.journal_view import JournalView

    view: JournalRows = JournalView.open(journal)
    return view


@dataclass(frozen=True)
class SortedRows:
    """Rows of the journal in memory, sorted by time, then ``_seq``."""

    table: pa.Table
    times: Times

    @property
    def start_ns(self) -> int:
        """Time of the first row."""
        return int(self.times[0])

    @property
    def end_ns(self) -> int:
        """Time of the last row."""
        return int(self.times[-1])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.times)

    def batches(self, selection: Selection, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the selected rows in time order."""
        low, high = selection.bounds(self.times)
        yield from batches_of(
            selection.project(self.table.slice(low, high - low)), selection.output, batch_rows
        )

    def floor_ns(self, time_ns: int) -> int | None:
        """Return the greatest timestamp at or before the given time, None if there is none."""
        row = int(np.searchsorted(self.times, time_ns, "right")) - 1
        return int(self.times[row]) if row >= 0 else None


def sort_rows(table: pa.Table) -> SortedRows:
    """Return the rows sorted by time, then ``_seq``."""
    times: Times = table.column(TIME).to_numpy()
    if bool((times[1:] >= times[:-1]).all()):
        return SortedRows(table, times)
    order = np.lexsort((table.column(SEQ).to_numpy(), times))
    return SortedRows(table.take(pa.array(order)), times[order])


def snapshot(
    view: JournalRows, topic: str, names: list[str]
) -> tuple[list[dict[str, Any]], list[SortedRows]]:
    """Return the parts of a topic and the rows that are in none of them, each durable row exactly once.

    Raises FileNotFoundError when the journal itself is gone: the sequence was sealed or discarded.
    """
    for _ in range(_ATTEMPTS):
        view.refresh()
        parts = list(view.parts.get(topic, []))
        try:
            rows = list(_sorted_chunks(view, topic, names))
        except FileNotFoundError:  # the sealer removed a segment after writing its rows to a part
            continue
        view.refresh()
        if list(view.parts.get(topic, [])) == parts:
            return parts, rows
    raise DeadlinePassed(
        "the parts of an open sequence changed during each of many attempts to read it",
        topic=topic,
        next_step="read again when the sequence is sealed, or with a smaller load on this machine",
    )


def _sorted_chunks(view: JournalRows, topic: str, names: list[str]) -> Iterator[SortedRows]:
    wanted = [TIME, SEQ, *(n for n in names if n not in (TIME, SEQ))]
    held: list[pa.RecordBatch] = []
    size_bytes = 0
    for _, batch in view.batches(topic):
        if batch.num_rows:
            held.append(batch.select(wanted))
            size_bytes += held[-1].nbytes
        if size_bytes >= _CHUNK_BYTES:
            yield sort_rows(pa.Table.from_batches(held).combine_chunks())
            held, size_bytes = [], 0
    if held:
        yield sort_rows(pa.Table.from_batches(held).combine_chunks())
