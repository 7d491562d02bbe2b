"""Several topics read as one stream in time order: as columns, or as one Python tuple per row.

Rows of equal time come in the order of the topics, within a topic in the order they arrived. Memory is
one batch per topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.errors import UsageError
from gapless.store.merge import SortedStream, merged_heads
from gapless.store.python_values import column_values
from gapless.store.reader import BATCH_ROWS, TopicReader
from gapless.store.selection import Times, times_of

_ROWS_AT_ONCE = 4_096  # Python values of so few rows stay in the processor's cache
Columns = Mapping[str, Sequence[str]] | None


@dataclass(frozen=True)
class MergedBatch:
    """A span of time of several topics: whose row is next, and the rows themselves, still columnar.

    Row ``i`` in time order is row ``row[i]`` of ``batches[topic_code[i]]`` and belongs to
    ``topics[topic_code[i]]``. A topic without rows in the span has an empty batch.
    """

    topics: tuple[str, ...]
    batches: tuple[pa.RecordBatch, ...]
    timestamp_ns: Times
    topic_code: NDArray[np.int16]

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """The row within its topic's batch, for each row in time order."""
        rows = np.empty(len(self.topic_code), dtype=np.int64)
        for code, batch in enumerate(self.batches):
            if batch.num_rows:
                rows[self.topic_code == code] = np.arange(batch.num_rows)
        return rows

    @property
    def num_rows(self) -> int:
        """Number of rows over all topics."""
        return len(self.timestamp_ns)

    def to_arrow(self) -> pa.RecordBatch:
        """Return the order as a batch of ``timestamp_ns``, ``topic`` (dictionary) and ``row``."""
        names = pa.DictionaryArray.from_arrays(pa.array(self.topic_code), pa.array(self.topics, pa.string()))
        return pa.RecordBatch.from_arrays(
            [pa.array(self.timestamp_ns), names, pa.array(self.row)], names=["timestamp_ns", "topic", "row"]
        )

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return an iterator of ``(timestamp_ns, topic, *values)`` for each row in time order."""
        if sum(batch.num_rows > 0 for batch in self.batches) == 1:
            code = next(code for code, batch in enumerate(self.batches) if batch.num_rows)
            return self._tuples(code)
        tuples = [self._tuples(code) for code in range(len(self.topics))]
        # Each step takes the next tuple of the topic whose turn it is; all of it runs in C.
        return map(next, map(tuples.__getitem__, self.topic_code.tolist()))

    def _tuples(self, code: int) -> Iterator[tuple[Any, ...]]:
        times, *values = (column_values(column) for column in self.batches[code].columns)
        return zip(times, repeat(self.topics[code]), *values, strict=False)


def merge_topics(
    readers: Sequence[TopicReader],
    columns: Columns = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[MergedBatch]:
    """Yield all rows of the topics in ``[start_ns, end_ns)`` in time order, span after span.

    ``columns`` maps the name of a topic to its wanted columns; a topic that it does not name gives all.
    """
    names = tuple(reader.name for reader in readers)
    if len(names) > np.iinfo(np.int16).max or len(set(names)) != len(names):
        raise UsageError(
            "a merge takes each topic once, at most 32,767 of them", found=f"{len(names)} topics"
        )
    unknown = [name for name in columns or {} if name not in names]
    if unknown:
        raise UsageError("columns are given for a topic that is not merged", topic=unknown[0])
    wanted = [(columns or {}).get(name) for name in names]
    scans = [
        reader.scan(only, start_ns, end_ns, batch_rows=batch_rows)
        for reader, only in zip(readers, wanted, strict=True)
    ]
    empty = [_empty(reader, only) for reader, only in zip(readers, wanted, strict=True)]
    return _merge(names, scans, empty)


def iter_rows(
    readers: Sequence[TopicReader],
    columns: Columns = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Return an iterator of ``(timestamp_ns, topic, *values)`` of all topics in time order."""
    merged = merge_topics(readers, columns, start_ns, end_ns, batch_rows=_ROWS_AT_ONCE)
    return chain.from_iterable(batch.rows() for batch in merged)


def merge_order(times: Sequence[Times]) -> tuple[Times, NDArray[np.int16]]:
    """Return the merged timestamps of sorted arrays, and of which array each one is.

    Equal times keep the order of the arrays.
    """
    joined = np.concatenate(times)
    codes = np.repeat(np.arange(len(times), dtype=np.int16), [len(part) for part in times])
    # numpy's stable sort of int64 finds the runs that are sorted already and merges them.
    order = np.argsort(joined, kind="stable")
    return joined[order], codes[order]


def _merge(
    names: tuple[str, ...], scans: Sequence[Iterator[pa.RecordBatch]], empty: Sequence[pa.RecordBatch]
) -> Iterator[MergedBatch]:
    # The start of a topic that is being recorded is not known without reading it, so all begin at once.
    streams = [SortedStream(-(2**63), scan.__iter__) for scan in scans]
    for taken in merged_heads(streams):
        batches = list(empty)
        for number, batch in taken:
            batches[number] = batch
        times, codes = merge_order([times_of(batch) for batch in batches])
        yield MergedBatch(names, tuple(batches), times, codes)


def _empty(reader: TopicReader, columns: Sequence[str] | None) -> pa.RecordBatch:
    names = reader.schema.names if columns is None else ["timestamp_ns", *columns]
    fields = [reader.schema.field(name) for name in dict.fromkeys(names) if name in reader.schema.names]
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in fields], schema=pa.schema(fields))
