"""The events of a stream in order of seq_num, the last one of each number, in partitions of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.bluesky.stream_rows import order_of
from gapless.bluesky.tiled.memo import Memo
from gapless.bluesky.tiled.topic_rows import PARTITION_ROWS, columns_with_nulls
from gapless.store.reader import TopicReader

_HIDDEN = ("timestamp_ns", "uid", "descriptor")  # Tiled's clients take every column for a data key


@dataclass(frozen=True, slots=True)
class Chunk:
    """Numbers from ``first_seq`` to ``last_seq``, both included, and how many of them have an event."""

    first_seq: int
    last_seq: int
    events: int


_chunks_known: Final[Memo[tuple[Chunk, ...]]] = Memo(256)


class EventRows:
    """The events of one stream as Tiled's clients of event streams expect them.

    ``readers``: the stream's topic in the base and in each layer; the event that was taken last replaces
    others of its number. ``hidden``: columns that are served in another way. ``sealed``: no more events can
    come, so where they are may be remembered.
    """

    def __init__(
        self,
        readers: Sequence[TopicReader],
        version: str,
        *,
        hidden: Sequence[str] = (),
        sealed: bool = False,
    ) -> None:
        self._readers = list(readers)
        self._version = version
        self._sealed = sealed
        left_out = {*_HIDDEN, *hidden}
        self._names = [name for name in self._readers[0].schema.names if name not in left_out]

    @property
    def version(self) -> str:
        """A text that changes when the rows change."""
        return self._version

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns: seq_num, time, then data keys and their timestamps."""
        return pa.schema([self._readers[0].schema.field(name) for name in self._names])

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """Which numbers each partition holds."""
        if not self._sealed:
            return self._find_chunks()
        return _chunks_known.get(self._version, self._find_chunks)

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of events of each partition; at least one partition."""
        return tuple(chunk.events for chunk in self.chunks)

    @cached_property
    def with_nulls(self) -> frozenset[str]:
        """The integer and boolean columns that hold a null."""
        return frozenset().union(*(columns_with_nulls(reader, self._names) for reader in self._readers))

    def read(self, partition: int, columns: Sequence[str]) -> pa.Table:
        """Return some columns of a partition, in the order they are named in."""
        chunk = self.chunks[partition]
        wanted = list(dict.fromkeys(["seq_num", *columns]))
        seq = pc.field("seq_num")
        chosen = (seq >= chunk.first_seq) & (seq <= chunk.last_seq)
        batches, places = [], []
        for place, reader in enumerate(self._readers):
            for batch in reader.scan(wanted, with_seq=True, filter=chosen):
                batches.append(batch)
                places.append(np.full(batch.num_rows, place, np.int32))
        if not batches:
            return pa.schema([self._readers[0].schema.field(name) for name in columns]).empty_table()
        table = pa.Table.from_batches(batches)
        return _last_of_each(table, np.concatenate(places)).select(list(columns))

    def _find_chunks(self) -> tuple[Chunk, ...]:
        numbers = [
            batch.column("seq_num").to_numpy()
            for reader in self._readers
            for batch in reader.scan(["seq_num"])
        ]
        seqs: npt.NDArray[np.int64] = np.unique(np.concatenate(numbers)) if numbers else np.empty(0, np.int64)
        cut = [seqs[start : start + PARTITION_ROWS] for start in range(0, len(seqs), PARTITION_ROWS)]
        return tuple(Chunk(int(p[0]), int(p[-1]), len(p)) for p in cut) or (Chunk(0, -1, 0),)


def _last_of_each(table: pa.Table, places: npt.NDArray[np.int32]) -> pa.Table:
    """Return the rows in order of seq_num, of equal ones the last."""
    seqs: npt.NDArray[np.int64] = table.column("seq_num").to_numpy()
    if len(seqs) < 2 or bool(np.all(seqs[1:] > seqs[:-1])):
        return table
    order = order_of(table, places)
    kept = np.append(seqs[order][1:] != seqs[order][:-1], True)
    return table.take(pa.array(order[kept]))
