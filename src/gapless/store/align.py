"""Topics of different rates on one time base: the stamps of one of them, or a regular grid without drift.

Each column becomes ``topic:field``. Memory is one block of the base and one batch per topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.errors import NotFound, UsageError
from gapless.store.declaration import TIME
from gapless.store.reader import TopicReader
from gapless.store.selection import Times, times_of

Policy = Literal["hold", "asof", "interp"]
Rate = int | float | str | Fraction
_POLICIES = ("hold", "asof", "interp")
_BLOCK = 65_536
_NS = 1_000_000_000
# Larger terms of a rate would overflow int64 within a block of the grid.
_NUMERATOR_LIMIT, _DENOMINATOR_LIMIT = 10**14, 10**9


@dataclass(frozen=True)
class Alignment:
    """What a call to align asks for, checked; :meth:`batches` reads."""

    readers: Mapping[str, TopicReader]
    columns: Mapping[str, tuple[str, ...]]
    on: str | None
    rate: Fraction | None
    policy: Policy
    tolerance_ns: int | None
    start_ns: int | None
    end_ns: int | None

    @property
    def schema(self) -> pa.Schema:
        """``timestamp_ns``, then ``topic:field`` for each topic and column; units stay on the fields."""
        fields = [pa.field(TIME, pa.int64(), nullable=False)]
        for topic, names in self.columns.items():
            for name in names:
                field = self.readers[topic].schema.field(name)
                kind = pa.float64() if self._widens(topic, field.type) else field.type
                fields.append(pa.field(f"{topic}:{name}", kind, nullable=True, metadata=field.metadata))
        return pa.schema(fields)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the aligned rows, block by block of the base."""
        followers = {
            topic: Follower(self._scan_from_before(topic), self.policy, self.tolerance_ns)
            for topic in self.columns
            if topic != self.on
        }
        schema = self.schema
        for times, own in self._base():
            columns: list[pa.Array] = [pa.array(times)]
            for topic, names in self.columns.items():
                if topic == self.on:
                    columns += [own.column(name) for name in names]
                else:
                    columns += followers[topic].values_at(times, names)
            yield pa.RecordBatch.from_arrays(
                [_cast(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
            )

    def _widens(self, topic: str, kind: pa.DataType) -> bool:
        return self.policy == "interp" and topic != self.on and bool(pa.types.is_integer(kind))

    def _base(self) -> Iterator[tuple[Times, pa.RecordBatch]]:
        if self.on is not None:
            reader = self.readers[self.on]
            names = list(self.columns.get(self.on, ()))
            for batch in reader.scan(names, self.start_ns, self.end_ns, batch_rows=_BLOCK):
                yield times_of(batch), batch
            return
        assert self.rate is not None
        starts = [r.start_ns for r in self.readers.values()]
        ends = [r.end_ns for r in self.readers.values()]
        first = (
            self.start_ns
            if self.start_ns is not None
            else min((s for s in starts if s is not None), default=None)
        )
        last = (
            self.end_ns - 1
            if self.end_ns is not None
            else max((e for e in ends if e is not None), default=None)
        )
        if first is not None and last is not None:
            for times in grid(first, last, self.rate):
                yield times, pa.RecordBatch.from_arrays([pa.array(times)], names=[TIME])

    def _scan_from_before(self, topic: str) -> Iterator[pa.RecordBatch]:
        """Scan a topic from the last row at or before the window, which the first stamps may hold."""
        reader = self.readers[topic]
        begin = None if self.start_ns is None else reader.floor_ns(self.start_ns)
        begin = self.start_ns if begin is None else begin
        # Rows after the window are wanted too: the neighbour that follows the last stamp.
        return reader.scan(list(self.columns[topic]), begin, None, batch_rows=_BLOCK)


def plan(
    readers: Sequence[TopicReader],
    *,
    on: str | None = None,
    rate_hz: Rate | None = None,
    policy: Policy = "hold",
    tolerance_ns: int | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Alignment:
    """Return the checked alignment of topics, or raise UsageError or NotFound; nothing is read yet.

    ``hold`` takes the last value at or before a stamp, ``asof`` the nearest (of two equally near, the
    earlier), ``interp`` the straight line between the neighbours. A value further than ``tolerance_ns``
    from the stamp is null; for ``interp`` both neighbours must be within it.
    """
    by_name = {reader.name: reader for reader in readers}
    if (on is None) == (rate_hz is None):
        raise UsageError("align needs either on= (a topic) or rate_hz=", next_step="give one of the two")
    if policy not in _POLICIES:
        raise UsageError("there is no such policy", found=policy, expected=" | ".join(_POLICIES))
    if tolerance_ns is not None and tolerance_ns < 0:
        raise UsageError("a tolerance is not negative", found=tolerance_ns, expected="nanoseconds, 0 or more")
    for name in [*([on] if on is not None else []), *(columns or {})]:
        if name not in by_name:
            raise NotFound("the topic is not among those to align", topic=name, expected=", ".join(by_name),
                           next_step="add the topic to the list")  # fmt: skip
    chosen = {name: _chosen(reader, (columns or {}).get(name)) for name, reader in by_name.items()}
    if policy == "interp":
        for name, names in chosen.items():
            _check_numbers(by_name[name], names if name != on else ())
    rate = None if rate_hz is None else as_rate(rate_hz)
    return Alignment(by_name, chosen, on, rate, policy, tolerance_ns, start_ns, end_ns)


def as_rate(rate_hz: Rate) -> Fraction:
    """Return a rate as an exact fraction: ``29.97`` is 2997/100, and ``"30000/1001"`` is itself."""
    try:
        rate = Fraction(str(rate_hz))
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError("a rate is a number or a fraction of hertz", found=rate_hz) from error
    if not 0 < rate <= _NS:
        raise UsageError("a rate is out of range", found=rate_hz, expected="more than 0, at most 1e9 Hz")
    if rate.numerator > _NUMERATOR_LIMIT or rate.denominator > _DENOMINATOR_LIMIT:
        raise UsageError("a rate has too many digits", found=rate_hz, expected="a fraction such as '100/3'")
    return rate


def grid(start_ns: int, last_ns: int, rate: Fraction) -> Iterator[Times]:
    """Yield the stamps ``start + floor(k / rate)`` up to and including ``last_ns``, exact for every k."""
    period = _NS * rate.denominator
    whole, rest = divmod(period, rate.numerator)
    steps = np.arange(_BLOCK, dtype=np.int64)
    first = 0
    while True:
        offset, remainder = divmod(first * period, rate.numerator)
        block_start = start_ns + offset
        if block_start > last_ns:
            return
        # Relative to the block so that nothing exceeds int64; the last block may end early.
        count = min(_BLOCK, ((last_ns - block_start + 1) * rate.numerator - remainder - 1) // period + 1)
        k = steps[: max(count, 1)]
        yield np.int64(block_start) + k * whole + (k * rest + remainder) // rate.numerator
        first += _BLOCK


class Follower:
    """One topic read along with the base: the stretch of it that the present stamps need."""

    def __init__(self, batches: Iterator[pa.RecordBatch], policy: Policy, tolerance_ns: int | None) -> None:
        self._batches = batches
        self._policy = policy
        self._tolerance = None if tolerance_ns is None else np.uint64(tolerance_ns)
        self._rows: pa.RecordBatch | None = None
        self._times: Times = np.empty(0, dtype=np.int64)
        self._ended = False

    def values_at(self, stamps: Times, names: Sequence[str]) -> list[pa.Array]:
        """Return one array per column with a value, or null, for each of the rising stamps."""
        pieces: list[list[pa.Array]] = []
        done = 0
        while done < len(stamps):
            # Stamps before the last row in memory are decided: what holds at them and what follows is known.
            known = len(stamps) if self._ended else self._decided(stamps)
            if known > done:
                pieces.append(self._pick(stamps[done:known], names))
                done = known
            else:
                self._advance()
        return [pa.chunked_array(list(column)).combine_chunks() for column in zip(*pieces, strict=True)]

    def _decided(self, stamps: Times) -> int:
        if not len(self._times):
            return 0
        return int(np.searchsorted(stamps, self._times[-1], "left"))

    def _advance(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self._ended = True
            return
        if self._rows is not None:  # the last row holds until the first of the new ones
            last = self._rows.slice(self._rows.num_rows - 1)
            batch = pa.Table.from_batches([last, batch]).combine_chunks().to_batches()[0]
        self._rows, self._times = batch, times_of(batch)

    def _pick(self, stamps: Times, names: Sequence[str]) -> list[pa.Array]:
        assert self._rows is not None or self._ended
        if self._rows is None:
            return [pa.nulls(len(stamps)) for _ in names]
        before = np.searchsorted(self._times, stamps, "right") - 1
        if self._policy == "interp":
            return self._interpolate(stamps, before, names)
        rows = before if self._policy == "hold" else self._nearest(stamps, before)
        missing = rows < 0
        if self._tolerance is not None:
            missing |= _distance(self._times[np.maximum(rows, 0)], stamps) > self._tolerance
        index = pa.array(rows, mask=missing)
        return [self._rows.column(name).take(index) for name in names]

    def _nearest(self, stamps: Times, before: NDArray[np.int64]) -> NDArray[np.int64]:
        after = np.minimum(before + 1, len(self._times) - 1)
        behind = _distance(self._times[np.maximum(before, 0)], stamps)
        ahead = _distance(self._times[after], stamps)
        return np.where((before < 0) | ((after > before) & (ahead < behind)), after, before)

    def _interpolate(self, stamps: Times, before: NDArray[np.int64], names: Sequence[str]) -> list[pa.Array]:
        assert self._rows is not None
        last = len(self._times) - 1
        left = np.maximum(before, 0)
        # Where there is no neighbour before, the difference wraps; those stamps are missing anyway.
        since = stamps.view(np.uint64) - self._times[left].view(np.uint64)
        exact = (since == 0) & (before >= 0)
        right = np.minimum(before + 1, last)
        right[exact] = before[exact]
        until = self._times[right].view(np.uint64) - stamps.view(np.uint64)
        missing = (before < 0) | ((before == last) & ~exact)
        if self._tolerance is not None:
            missing |= (since > self._tolerance) | (until > self._tolerance)
        weight = since / np.maximum(since.astype(np.float64) + until, 1.0)
        return [_between(self._rows.column(name), left, right, weight, missing) for name in names]


def _between(
    column: pa.Array,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    weight: NDArray[np.float64],
    missing: NDArray[np.bool_],
) -> pa.Array:
    kind = column.type if pa.types.is_floating(column.type) else pa.float64()
    if column.null_count:
        null = column.is_null().to_numpy(zero_copy_only=False)
        missing = missing | null[left] | null[right]
        column = column.fill_null(0)
    known = column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
    low, high = known[left], known[right]
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite neighbour gives NaN or infinity
        values = low * (1.0 - weight) + high * weight
    np.copyto(values, low, where=left == right)  # exactly at a row: its own value, also if infinite
    return pa.array(values, mask=missing).cast(kind, safe=False)


def _distance(times: Times, stamps: Times) -> NDArray[np.uint64]:
    """Return |times - stamps|, exact also where the difference does not fit int64."""
    low, high = np.minimum(times, stamps), np.maximum(times, stamps)
    return high.view(np.uint64) - low.view(np.uint64)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(column.type):  # a topic without rows
        return pa.nulls(len(column), kind)
    return column if column.type.equals(kind) else column.cast(kind)


def _chosen(reader: TopicReader, columns: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(n for n in (reader.schema.names if columns is None else columns) if n != TIME)
    for name in names:
        if name not in reader.schema.names:
            raise NotFound("the topic has no such column", topic=reader.name, field=name,
                           next_step="correct the column name")  # fmt: skip
    return names


def _check_numbers(reader: TopicReader, names: Sequence[str]) -> None:
    for name in names:
        kind = reader.schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise UsageError(
                "only numbers can be interpolated",
                topic=reader.name,
                field=name,
                found=str(kind),
                next_step="use policy='hold' or 'asof', or leave the column out with columns=",
            )
