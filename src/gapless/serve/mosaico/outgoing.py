"""The rows of a topic on their way to the SDK: sorted by time, in batches that its transport takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from gapless.serve.door import Outgoing
from gapless.serve.mosaico.description import Window
from gapless.serve.mosaico.row_shape import RowShape, leaving
from gapless.store.reader import TopicReader

TARGET_BYTES: Final = 4 << 20  # of one batch, unless one row is larger
_ROWS_AT_ONCE: Final = 16_384


def rows_of(reader: TopicReader, window: Window, gone: Callable[[], bool]) -> Outgoing:
    """Return the rows of a topic in a window; nothing more is read once ``gone()`` is true."""
    shape = leaving(reader)
    return Outgoing(shape.travelling, _batches(reader, shape, window, gone))


def _batches(
    reader: TopicReader, shape: RowShape, window: Window, gone: Callable[[], bool]
) -> Iterator[pa.RecordBatch]:
    for stored in reader.scan(None, window.start_ns, window.end_ns, batch_rows=_ROWS_AT_ONCE):
        for piece in _pieces(stored):
            if gone():
                return
            yield from _pieces(shape.send(piece))


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the batch in slices of about the target; an empty batch would end the stream for the SDK."""
    if batch.num_rows <= 1 or batch.nbytes <= TARGET_BYTES:
        if batch.num_rows:
            yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))
