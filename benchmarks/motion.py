"""The row that the write benchmarks use: int64 time and nine float64 of six decimals, 80 bytes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partialmethod
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless import OnErrorPolicy, connect
from gapless.store.writer import BundleWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gapless.client.sequence_writer import SequenceWriter

PERIOD_NS = 1_000_000
START_NS = 1_700_000_000_000_000_000
ROW_BYTES = 80
NAMES = [f"{part}.{axis}" for part in ("acceleration", "gyro", "field") for axis in "xyz"]
SCHEMA = pa.schema(
    [pa.field("timestamp_ns", pa.int64(), nullable=False)]
    + [pa.field(name, pa.float64(), nullable=False) for name in NAMES]
)
_REPEAT = 65_536  # one row group: no row group holds a row twice


def walks(rows: int = _REPEAT) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return nine random walks, always the same ones, as [rows, 9] with six decimals."""
    steps = np.random.default_rng(7).normal(0, 0.01, (rows, len(NAMES)))
    return np.round(np.cumsum(steps, axis=0), 6)


def times(rows: int, start: int = 0) -> range:
    """Return the stamps of rows ``start`` to ``start + rows``."""
    return range(START_NS + start * PERIOD_NS, START_NS + (start + rows) * PERIOD_NS, PERIOD_NS)


def values() -> list[tuple[float, ...]]:
    """Return the values of rows as tuples, to be repeated for as many rows as wanted."""
    return [tuple(row) for row in walks().tolist()]


def push_all(push_row: Callable[..., None], stamps: range, rows: list[tuple[float, ...]]) -> None:
    """Call ``push_row(time, nine values)`` for every stamp: the loop that all variants share."""
    for t, (a, b, c, d, e, f, g, h, i) in zip(stamps, cycle(rows), strict=False):
        push_row(t, a, b, c, d, e, f, g, h, i)


def columns(start: int, rows: int, source: np.ndarray[Any, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a block's times and columns, the columns contiguous as an instrument's driver gives them."""
    at = start % (len(source) - rows)
    stamps = np.arange(start, start + rows, dtype=np.int64) * PERIOD_NS + START_NS
    return stamps, {n: np.ascontiguousarray(source[at : at + rows, k]) for k, n in enumerate(NAMES)}


class Unsealed(Exception):
    """Ends a recording that a benchmark does not want sealed."""


class Recording:
    """A sequence being recorded through the client, with or without sealing in the background.

    Used with ``with``; without background sealing the sequence is left pending, because what is measured
    ends when the rows are durable.
    """

    def __init__(self, store: Path, *, background_seal: bool, **knobs: Any) -> None:
        self._background = background_seal
        self._client = connect(store, **knobs)
        self.sequence: SequenceWriter

    def __enter__(self) -> SequenceWriter:
        name = f"run-{len(list(self._client._store.sequences.glob('*'))):03d}"
        made = self._client.sequence_create(name, on_error=OnErrorPolicy.Report)
        if self._background:
            self.sequence = made.__enter__()
            return self.sequence
        kept = BundleWriter.__init__
        try:  # the client has no knob for this: a recording that is never sealed is of no use to anybody
            BundleWriter.__init__ = partialmethod(kept, background_seal=False)  # type: ignore[method-assign,assignment]
            self.sequence = made.__enter__()
        finally:
            BundleWriter.__init__ = kept  # type: ignore[method-assign]
        return self.sequence

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None and not self._background:
            error = Unsealed("measured")
        self.sequence.__exit__(type(error) if error else None, error, None)
        self._client.close()

    def drain(self) -> None:
        """Return when every closed segment has become parts: the whole price of sealing is then paid."""
        writer = self.sequence._writer
        assert isinstance(writer, BundleWriter)
        if writer.sealer is not None:
            writer.sealer.stop(60.0)


def batches(rows: int, block: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows as record batches of the declared schema."""
    source = walks()
    for start in range(0, rows, block):
        stamps, named = columns(start, min(block, rows - start), source)
        yield pa.RecordBatch.from_arrays([pa.array(stamps), *map(pa.array, named.values())], schema=SCHEMA)
