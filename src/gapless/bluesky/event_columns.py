"""The check that is compiled once for each stream: events in, one Arrow batch and its violations out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.event_batch import EventBatch
from gapless.bluesky.stream_schema import KeyColumn, StreamSchema
from gapless.bluesky.value_kind import Refusal
from gapless.bluesky.violation import Violation, describe, raw
from gapless.errors import DocumentRefused

_STAMP_TYPES = frozenset([float, int, np.float64, type(None)])


class EventColumns:
    """Turns batches of events into rows of the stream's topic.

    Columns of which all values are of the declared Python types go to Arrow as they are; any other is
    looked at value by value. A cell that is not as declared becomes null and a violation, never another
    value.
    """

    def __init__(self, stream: str, columns: StreamSchema, schema: pa.Schema) -> None:
        self.stream = stream
        self._columns = columns
        self._schema = schema  # the topic's: timestamp_ns first
        self._keys = frozenset(column.key for column in columns.keys)

    def build(
        self, batch: EventBatch, descriptor: int, now_ns: int
    ) -> tuple[pa.RecordBatch, list[Violation]]:
        """Return the events as rows, and what was not as declared. ``now_ns`` stands for a time that is none."""
        violations: list[Violation] = []
        times, stamps_ns = self._times(batch, now_ns, violations)
        arrays: list[pa.Array] = [
            pa.array(stamps_ns),
            pa.array(batch.seq_nums, pa.int64()),
            pa.array(times),
            _texts(batch.uids),
            pa.array(np.full(len(batch), descriptor, np.int32)),
        ]
        place = _Place(self.stream, batch, stamps_ns)
        for column in self._columns.keys:
            arrays.append(self._cells(column, batch, place, violations))
            arrays.append(self._stamps(column, batch, place, violations))
        violations += self._extras(batch, place)
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema), violations

    def _times(
        self, batch: EventBatch, now_ns: int, violations: list[Violation]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        times = np.array([_seconds(value) for value in batch.times], np.float64)
        with np.errstate(all="ignore"):
            scaled = np.rint(times * 1e9)
        fits = np.abs(scaled) < 2.0**63
        stamps_ns = np.where(fits, scaled, 0.0).astype(np.int64)
        for n in np.flatnonzero(~fits):
            stamps_ns[n] = now_ns
            value = batch.times[n]
            violations.append(
                Violation(
                    now_ns,
                    self.stream,
                    batch.uids[n],
                    batch.seq_nums[n],
                    "time",
                    "time",
                    "seconds since 1970",
                    describe(value),
                    raw(value),
                )
            )
        return times, stamps_ns

    def _cells(
        self, column: KeyColumn, batch: EventBatch, place: _Place, violations: list[Violation]
    ) -> pa.Array:
        kind = column.kind
        values = batch.data.get(column.key)
        if values is None:
            violations += [place.violation(n, column.key, "missing", kind.words) for n in range(len(batch))]
            return pa.nulls(len(batch), kind.type)
        if kind.plain.issuperset(map(type, values)):
            try:
                return kind.column(values)
            except (pa.ArrowException, OverflowError, UnicodeError):  # one of them is out of range
                return self._one_by_one(column, values, place, violations)
        return self._one_by_one(column, values, place, violations)

    def _one_by_one(
        self, column: KeyColumn, values: list[Any], place: _Place, violations: list[Violation]
    ) -> pa.Array:
        kind, cells = column.kind, []
        for n, value in enumerate(values):
            cell = None
            if value is EventBatch.ABSENT:
                violations.append(place.violation(n, column.key, "missing", kind.words))
            else:
                cell = kind.accept(value)
                if isinstance(cell, Refusal):
                    violations.append(place.violation(n, column.key, cell.kind, kind.words, value))
                    cell = None
            cells.append(cell)
        return pa.array(cells, kind.type)

    def _stamps(
        self, column: KeyColumn, batch: EventBatch, place: _Place, violations: list[Violation]
    ) -> pa.Array:
        values = batch.stamps.get(column.key)
        if values is not None and _STAMP_TYPES.issuperset(map(type, values)):
            try:
                return pa.array(values, pa.float64())
            except (pa.ArrowException, OverflowError):  # an integer that no float64 is
                values = list(values)
        elif values is None:
            values = [EventBatch.ABSENT] * len(batch)
        cells: list[float | None] = []
        here = batch.data.get(column.key)
        for n, value in enumerate(values):
            cell = _seconds(value)
            wrong = cell is not value and not _is_number(value)
            absent = value is EventBatch.ABSENT
            if wrong and not (absent and (here is None or here[n] is EventBatch.ABSENT)):
                given = () if absent else (value,)
                violations.append(place.violation(n, column.key, "timestamp", "seconds since 1970", *given))
            cells.append(None if wrong else cell)
        return pa.array(cells, pa.float64())

    def _extras(self, batch: EventBatch, place: _Place) -> Iterator[Violation]:
        for n, others in batch.others.items():
            yield place.violation(n, "", "extra", "no such field of an event", others)
        for key in dict.fromkeys([*batch.data, *batch.stamps]):
            if key in self._keys:
                continue
            values = batch.data.get(key) or [EventBatch.ABSENT] * len(batch)
            stamps = batch.stamps.get(key) or [EventBatch.ABSENT] * len(batch)
            for n, pair in enumerate(zip(values, stamps, strict=True)):
                words = {
                    name: value
                    for name, value in zip(("value", "timestamp"), pair, strict=True)
                    if value is not EventBatch.ABSENT
                }
                if words:
                    yield place.violation(n, key, "extra", "no such data key", words)


def _texts(uids: list[str]) -> pa.Array:
    try:
        return pa.array(uids, pa.string())
    except UnicodeError as error:  # a lone surrogate, which no store can hold
        raise DocumentRefused("an event's uid is no text", field="uid", found=str(error)) from error


class _Place:
    """Where in the stream a violation is."""

    def __init__(self, stream: str, batch: EventBatch, stamps_ns: np.ndarray[Any, Any]) -> None:
        self._stream, self._batch, self._stamps_ns = stream, batch, stamps_ns

    def violation(self, n: int, key: str, kind: str, expected: str, *value: Any) -> Violation:
        found = describe(value[0]) if value else "nothing"
        kept = raw(value[0]) if value else None
        uid, number = self._batch.uids[n], self._batch.seq_nums[n]
        return Violation(int(self._stamps_ns[n]), self._stream, uid, number, key, kind, expected, found, kept)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _seconds(value: Any) -> float:
    """Return a time as float64 seconds, NaN for what is none."""
    if type(value) is float:
        return value
    try:
        return float(value) if _is_number(value) else math.nan
    except OverflowError:
        return math.nan
