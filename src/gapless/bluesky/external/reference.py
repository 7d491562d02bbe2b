"""Rows of a stream's ``_external`` topic: which frames, of which resource, belong to which events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

REFERENCE: Final = ("stream_resource", "index_start", "index_stop", "seq_start", "seq_stop", "descriptor")


@dataclass(frozen=True, slots=True)
class Reference:
    """Frames of one resource for events of one descriptor; both half-open."""

    resource: str
    index_start: int
    index_stop: int
    seq_start: int
    seq_stop: int
    descriptor: int


def references(batch: pa.RecordBatch) -> Iterator[tuple[str, Reference]]:
    """Yield data key and reference of a batch of rows; rows that follow each other are one reference.

    The references of one data key are in the order of their rows.
    """
    keys, names = _coded(batch.column("data_key"))
    for number, name in enumerate(names):
        rows = np.flatnonzero(keys == number)
        held = batch if len(rows) == batch.num_rows else batch.take(pa.array(rows))
        for reference in _joined(held):
            yield name, reference


def _joined(batch: pa.RecordBatch) -> Iterator[Reference]:
    resources, names = _coded(batch.column("stream_resource"))
    index_start, index_stop, seq_start, seq_stop, descriptor = (
        batch.column(name).to_numpy() for name in REFERENCE[1:]
    )
    whole = index_stop - index_start == seq_stop - seq_start
    follows = (
        (resources[1:] == resources[:-1])
        & (descriptor[1:] == descriptor[:-1])
        & (index_start[1:] == index_stop[:-1])
        & (seq_start[1:] == seq_stop[:-1])
        & whole[1:]
        & whole[:-1]
    )
    firsts = np.concatenate([[0], np.flatnonzero(~follows) + 1])
    lasts = np.append(firsts[1:], batch.num_rows) - 1
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield Reference(
            names[resources[first]],
            int(index_start[first]),
            int(index_stop[last]),
            int(seq_start[first]),
            int(seq_stop[last]),
            int(descriptor[first]),
        )


def _coded(column: pa.Array) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return a column of text as numbers and what they stand for."""
    coded = column.dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()
