"""Sample topics whose every row can be made again from its number: the truth that tests compare with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

START_NS = 1_700_000_000_000_000_000
_TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)


@dataclass(frozen=True)
class SampleTopic:
    """A topic's name and schema, and the function that makes row ``k``: its values after the time."""

    name: str
    schema: pa.Schema
    period_ns: int
    values: Callable[[int], tuple[Any, ...]]

    def row(self, k: int) -> tuple[Any, ...]:
        """Return row ``k``: its time, then its values."""
        return (START_NS + k * self.period_ns, *self.values(k))

    def table(self, start: int, stop: int) -> pa.Table:
        """Return rows ``start`` to ``stop`` (not included) as they must be read back."""
        rows = [self.row(k) for k in range(start, stop)]
        columns: list[Any] = list(zip(*rows, strict=True)) or [[] for _ in self.schema]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def batch(self, start: int, stop: int) -> pa.RecordBatch:
        """Return rows ``start`` to ``stop`` (not included, at least one) as one batch."""
        return self.table(start, stop).combine_chunks().to_batches()[0]


def _mix(k: int) -> int:
    """Return 32 bits that look random and depend on ``k`` only."""
    return (k * 2_654_435_761 + 12_345) & 0xFFFFFFFF


def _motion(k: int) -> tuple[Any, ...]:
    return (k, *(((_mix(7 * k + i) >> 5) - (1 << 26)) / 1e6 for i in range(6)))


def _counts(k: int) -> tuple[Any, ...]:
    return (k % 2 == 0, _mix(k) % 251 if k % 7 else None, -(_mix(k) << 20) if k % 5 else None, _mix(k) / 3)


def _note(k: int) -> tuple[Any, ...]:
    return (f"note {k} " + "äbc€" * (k * 7 % 19), None if k % 3 == 0 else f"tag{k % 4}")


def _image(k: int) -> tuple[Any, ...]:
    return (hashlib.sha256(k.to_bytes(8, "little")).digest() * (1 + _mix(k) % 200), [float(k), k / 2, -0.0])


MOTION = SampleTopic(
    "sensors/motion",
    pa.schema([_TIME, ("n", pa.int64()), *((f"a.{axis}", pa.float64()) for axis in "uvwxyz")]),
    1_000_000,
    _motion,
)
COUNTS = SampleTopic(
    "counts",
    pa.schema(
        [_TIME, ("even", pa.bool_()), ("small", pa.uint8()), ("big", pa.int64()), ("third", pa.float64())]
    ),
    10_000_000,
    _counts,
)
NOTES = SampleTopic(
    "notes", pa.schema([_TIME, ("text", pa.string()), ("tag", pa.string())]), 50_000_000, _note
)
IMAGES = SampleTopic(
    "camera/front",
    pa.schema([_TIME, ("data", pa.large_binary()), ("pose", pa.list_(pa.float64()))]),
    33_000_000,
    _image,
)
TOPICS = (MOTION, COUNTS, NOTES, IMAGES)
