"""Writing one stream: its events and its references to external frames, as rows of two topics."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.event_batch import EventBatch
from gapless.bluesky.event_columns import EventColumns
from gapless.bluesky.run_report import StreamReport
from gapless.bluesky.sequence_numbers import CoveredNumbers, SeenRanges, SequenceNumbers
from gapless.bluesky.stream_schema import EXTERNAL_SCHEMA, StreamSchema
from gapless.bluesky.violation import Violation
from gapless.errors import DocumentRefused

if TYPE_CHECKING:
    from gapless.client.topic_writer import TopicWriter

_MAX_HOLES = 1_000  # gap rows of one stream; what is beyond stands in one row more
_EXTERNAL_NAMES = EXTERNAL_SCHEMA.names


class StreamWriter:
    """Takes the events and stream_datums of one stream, whichever of its descriptors they name.

    ``open_topic(schema, metadata)`` makes the topic of the events, ``open_external()`` that of the
    references; each is called once, before the first row. Columns and types are those of the first
    descriptor: a later one with other keys brings violations, not other columns.
    """

    def __init__(
        self,
        name: str,
        descriptor: Mapping[str, Any],
        report: StreamReport,
        *,
        open_topic: Callable[[pa.Schema, dict[str, Any]], TopicWriter],
        open_external: Callable[[], TopicWriter],
    ) -> None:
        self.name = name
        self.columns = StreamSchema.of(descriptor)
        self._metadata = self.columns.topic_metadata(name, descriptor)
        self._report = report
        self._open_topic, self._open_external = open_topic, open_external
        self._topic: TopicWriter | None = None
        self._external: TopicWriter | None = None
        self._ordinals = {str(descriptor["uid"]): 0}
        self._numbers = SequenceNumbers()
        self._seen: dict[tuple[str, str], SeenRanges] = {}
        self._covered: dict[str, CoveredNumbers] = {}

    def add_descriptor(self, descriptor: Mapping[str, Any]) -> int:
        """Take a later descriptor, a changed configuration; return its ordinal."""
        return self._ordinals.setdefault(str(descriptor["uid"]), len(self._ordinals))

    @property
    def topic(self) -> TopicWriter:
        """The topic of the events, made on first use."""
        if self._topic is None:
            self._topic = self._open_topic(self.columns.schema, self._metadata)
            self._check = EventColumns(self.name, self.columns, self._topic.schema)
        return self._topic

    def write(self, descriptor_uid: str, batch: EventBatch, now_ns: int) -> list[Violation]:
        """Write the events that have not come before; return what in them is not as declared."""
        topic = self.topic
        new = self._numbers.new_rows(batch.seq_nums, batch.uids)
        events = len(batch)
        if new is not None:
            batch = batch.take(new)
        violations: list[Violation] = []
        if len(batch):
            try:
                rows, violations = self._check.build(batch, self._ordinals[descriptor_uid], now_ns)
                topic.push_batch(rows)
            except BaseException:  # none of them is written: they may come again one by one
                self._numbers.take_back()
                raise
        self._report.events += events
        self._report.rows += len(batch)
        self._report.violations += len(violations)
        return violations

    def write_external(self, datums: Sequence[Mapping[str, Any]], keys: Sequence[str], now_ns: int) -> None:
        """Write references, one row each; ``keys`` are the data keys of their resources."""
        told = [self._external_row(datum, key) for datum, key in zip(datums, keys, strict=True)]
        rows = [row for row in told if self._is_new(row)]
        self._report.external_duplicates += len(datums) - len(rows)
        if not rows:
            return
        if self._external is None:
            self._external = self._open_external()
        columns = dict(zip(_EXTERNAL_NAMES, map(list, zip(*rows, strict=True)), strict=True))
        self._external.push_columns(np.full(len(rows), now_ns, np.int64), columns)
        self._report.external_rows += len(rows)
        for _, _, key, _, _, start, stop, _ in rows:
            self._covered.setdefault(key, CoveredNumbers()).add(start, stop)

    def _external_row(self, datum: Mapping[str, Any], key: str) -> tuple[Any, ...]:
        indices, seq_nums = datum["indices"], datum["seq_nums"]
        try:
            numbers = [part[end].__index__() for part in (indices, seq_nums) for end in ("start", "stop")]
            struct.pack("<4q", *numbers)  # 64 bits each
        except (KeyError, TypeError, AttributeError, struct.error) as error:
            raise DocumentRefused(
                "a stream_datum's indices and seq_nums are ranges",
                topic=self.name,
                found=f"{indices!r}, {seq_nums!r}",
                expected="whole numbers start and stop",
            ) from error
        ordinal = self._ordinals[datum["descriptor"]]
        return (datum["uid"], datum["stream_resource"], key, *numbers, ordinal)

    def _is_new(self, row: tuple[Any, ...]) -> bool:
        uid, resource, key, start, stop = row[:5]
        return self._seen.setdefault((resource, key), SeenRanges()).is_new(start, stop, uid)

    def end(self, num_events: int | None) -> None:
        """Write the gaps: numbers below the greatest, or below what the stop document counts, that never came."""
        report, numbers = self._report, self._numbers
        report.duplicates, report.superseded = numbers.duplicates, numbers.superseded
        report.reordered = numbers.reordered
        count = num_events or 0
        if numbers.greatest or (count and not self._covered):
            holes = _few(numbers.holes(count))
            report.missing += sum(missing for missing, _ in holes)
            for missing, words in holes:
                self.topic.gap(missing, f"events {words} never came", durable=False)
        for key, covered in self._covered.items():
            assert self._external is not None
            holes = _few(covered.holes(count))
            report.external_missing += sum(missing for missing, _ in holes)
            for _, words in holes:  # how many rows they would have been nobody can tell
                self._external.gap(None, f"{key}: frames of events {words} never came", durable=False)


def _few(holes: Iterator[tuple[int, int]]) -> list[tuple[int, str]]:
    """Return how many numbers each hole has, and which; beyond some holes, one row for all the rest."""
    told, rest, more = [], 0, 0
    for place, (first, last) in enumerate(holes):
        if place < _MAX_HOLES:
            told.append((last - first + 1, f"{first} to {last}"))
        else:
            rest, more = rest + last - first + 1, more + 1
    return [*told, (rest, f"in {more} more places")] if more else told
