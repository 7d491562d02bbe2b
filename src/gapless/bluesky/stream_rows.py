"""The rows of one stream's topic over a run and its layers: each uid once, by arrival or by seq_num."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gapless.store.reader import TopicReader

_SEQ = "_seq"
_TIME = "timestamp_ns"
_WINDOW_ROWS = 65_536
SUPERSEDED = "superseded"


class StreamRows:
    """Reads the topics of a base and its layers as one.

    ``readers``: the topic in each part that has it, by the part's number; the base is 0. A row of a layer
    whose uid a part before it has is left out. ``schema`` is that of the topic, None where no part has it.
    """

    def __init__(self, readers: Mapping[int, TopicReader]) -> None:
        self._parts = list(readers)
        self._readers = list(readers.values())
        self.schema: pa.Schema | None = self._readers[0].schema if self._readers else None
        self._repeated: list[pa.Array] | None = None

    @property
    def rows(self) -> int:
        """The number of rows, superseded ones included."""
        repeated = sum(map(len, self._repeats()))
        return sum(reader.rows for reader in self._readers) - repeated

    def by_arrival(
        self,
        columns: Sequence[str] | None = None,
        *,
        part: int | None = None,
        batch_rows: int = _WINDOW_ROWS,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all parts, or of one, in the order they came, in bounded memory."""
        for number, reader in enumerate(self._readers):
            if part is not None and self._parts[number] != part:
                continue
            names = None if columns is None else list(dict.fromkeys([*columns, "uid"]))
            for batch in _windows(reader, names, batch_rows):
                kept = self._without_repeats(number, batch)
                if kept.num_rows:
                    yield kept

    def by_seq_num(self, columns: Sequence[str], *, superseded: bool) -> pa.Table:
        """Return the rows by seq_num, those of one as :func:`order_of` says: the last of each, or all, marked.

        ``columns`` come first, in their order; with ``superseded`` the column of that name is the last.
        """
        keys = ["seq_num", "uid"]
        tables, parts = [], []
        for number, reader in enumerate(self._readers):
            names = list(dict.fromkeys([*columns, *keys]))
            for batch in reader.scan(names, with_seq=True):
                tables.append(self._without_repeats(number, batch))
                parts.append(np.full(tables[-1].num_rows, number, np.int32))
        if not tables:
            return self._nothing(columns, superseded=superseded)
        schema = tables[0].schema  # a layer's may carry other metadata
        table = pa.Table.from_batches(
            [pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in tables]
        )
        numbers = table.column("seq_num").to_numpy()
        order = order_of(table, np.concatenate(parts))
        ordered = numbers[order]
        replaced = np.append(ordered[1:] == ordered[:-1], False)[: len(ordered)]
        if not superseded:
            order = order[~replaced]
        table = table.select(list(dict.fromkeys(["timestamp_ns", *columns])))
        if len(order) != table.num_rows or bool((order[1:] < order[:-1]).any()):
            table = table.take(pa.array(order))
        return table.append_column(SUPERSEDED, pa.array(replaced)) if superseded else table

    def _nothing(self, columns: Sequence[str], *, superseded: bool) -> pa.Table:
        schema = self.schema if self.schema is not None else pa.schema([("timestamp_ns", pa.int64())])
        names = [name for name in dict.fromkeys(["timestamp_ns", *columns]) if name in schema.names]
        fields = [schema.field(name) for name in names]
        if superseded:
            fields.append(pa.field(SUPERSEDED, pa.bool_()))
        return pa.schema(fields).empty_table()

    # -- what a layer repeats ------------------------------------------------------------------

    def _without_repeats(self, number: int, batch: pa.RecordBatch) -> pa.RecordBatch:
        repeated = self._repeats()[number]
        if not len(repeated):
            return batch
        import pyarrow.compute as pc

        return batch.filter(pc.invert(pc.is_in(batch.column("uid"), value_set=repeated)))

    def _repeats(self) -> list[pa.Array]:
        """Return for each reader the uids that one before it has; as much memory as the layers' uids need."""
        if self._repeated is None:
            none = pa.array([], pa.string())
            self._repeated = [
                none if number == 0 else self._repeats_of(number) for number in range(len(self._readers))
            ]
        return self._repeated

    def _repeats_of(self, number: int) -> pa.Array:
        import pyarrow.compute as pc

        own = pa.array([uid for batch in self._readers[number].scan(["uid"]) for uid in batch.column("uid")])
        if not len(own):
            return pa.array([], pa.string())
        found: list[Any] = []
        for reader in self._readers[:number]:
            for batch in reader.scan(["uid"]):
                uids = batch.column("uid")
                found.append(uids.filter(pc.is_in(uids, value_set=own.cast(pa.string()))))
        return pa.concat_arrays(found).unique() if found else pa.array([], pa.string())


def order_of(table: pa.Table, parts: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the order of rows by seq_num; the last one of a seq_num is the event that holds.

    Those of one part are in order of arrival. What several parts have is in order of time, since an event that was
    taken earlier may be delivered later. ``parts``: the number of each row's part.
    """
    numbers: NDArray[np.int64] = table.column("seq_num").to_numpy()
    came: NDArray[np.int64] = table.column(_SEQ).to_numpy()
    order = np.lexsort((came, parts, numbers))
    if not len(order) or bool((parts == parts[0]).all()):
        return order
    numbers_so, parts_so = numbers[order], parts[order]
    is_last = np.append((numbers_so[1:] != numbers_so[:-1]) | (parts_so[1:] != parts_so[:-1]), True)
    times: NDArray[np.int64] = table.column(_TIME).to_numpy()
    time_of_last = np.empty_like(times)
    time_of_last[order] = times[order][is_last][np.cumsum(is_last) - is_last]
    return np.lexsort((came, parts, time_of_last, numbers))


def _windows(reader: TopicReader, columns: Sequence[str] | None, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield rows by ``_seq``: as they are read if that is their order, else window by window."""
    bounds = _disorder(reader)
    if bounds is None:
        yield from reader.scan(columns, batch_rows=batch_rows)
        return
    import pyarrow.compute as pc

    first, last = bounds
    for low in range(first, last + 1, batch_rows):
        wanted = (pc.field(_SEQ) >= low) & (pc.field(_SEQ) < low + batch_rows)
        held = list(reader.scan(columns, with_seq=True, filter=wanted))
        if not held:
            continue
        table = pa.Table.from_batches(held)
        order = np.argsort(table.column(_SEQ).to_numpy(), kind="stable")
        yield from table.drop_columns([_SEQ]).take(pa.array(order)).combine_chunks().to_batches()


def _disorder(reader: TopicReader) -> tuple[int, int] | None:
    """Return the smallest and greatest ``_seq`` if rows in time order are not in order of arrival."""
    first = last = before = None
    ordered = True
    for batch in reader.scan([], with_seq=True):
        numbers = batch.column(_SEQ).to_numpy()
        if before is not None and numbers[0] < before:
            ordered = False
        ordered = ordered and not bool((numbers[1:] < numbers[:-1]).any())
        before = numbers[-1]
        first = int(numbers.min()) if first is None else min(first, int(numbers.min()))
        last = int(numbers.max()) if last is None else max(last, int(numbers.max()))
    return None if ordered or first is None or last is None else (first, last)
