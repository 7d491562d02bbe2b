"""When rows satisfy conditions: clusters of their times, and the times at which several topics do.

Everything here is made while it is asked for: a cluster leaves as soon as a later row has ended it, and what
is held is one batch of rows for each topic, however many rows and clusters there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.catalog.answer import Span
from gapless.catalog.row_test import plain_array, rows_hold
from gapless.errors import QueryRefused
from gapless.model.expression import And
from gapless.model.normal_form import Condition, normal_form
from gapless.serve.mosaico.query import row_conditions
from gapless.serve.mosaico.row_shape import UNMODELED
from gapless.store.declaration import TIME
from gapless.store.reader import TopicReader

Times = NDArray[np.int64]
Gone = Callable[[], bool]

_SPANS_AT_ONCE: Final = 1_024  # of a batch that become numbers of Python, which take the most memory


def clusters(
    reader: TopicReader,
    conditions: Mapping[str, Any],
    gap_ns: int,
    gone: Gone,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Iterator[Span]:
    """Return an iterator of first and last time of each cluster of a topic's matching rows, both included.

    A cluster ends where the next matching row is more than ``gap_ns`` later; a gap of 0 makes one cluster
    of all of them. No conditions: every row matches. Raises ``pyarrow.ArrowInvalid`` at once for conditions
    that mean nothing, and ``pyarrow.ArrowCancelled`` instead of reading on once ``gone()`` is true.
    """
    tag = str(reader.ontology.get("tag") or UNMODELED)
    wanted = _row_group(conditions, tag)
    paths = {condition.predicate.path for condition in wanted}
    columns = [name for name in reader.schema.names if name in paths]
    stop_ns = None if end_ns is None or end_ns == 2**63 - 1 else end_ns + 1
    batches = reader.scan(columns, start_ns, stop_ns)
    return _joined(_matching(batches, wanted, gone), gap_ns)


def _row_group(conditions: Mapping[str, Any], tag: str) -> Sequence[Condition]:
    expressions = tuple(row_conditions(conditions, tag))
    if not expressions:
        return ()
    try:
        [alternative] = normal_form(And(expressions))
    except QueryRefused as error:
        raise pa.ArrowInvalid(f"query: {error}") from error
    return alternative.groups[0].conditions


def _matching(batches: Iterable[pa.RecordBatch], wanted: Sequence[Condition], gone: Gone) -> Iterator[Times]:
    """Yield the times of the matching rows, batch by batch."""
    for batch in batches:
        if gone():
            raise pa.ArrowCancelled("nobody waits for the clusters any more")
        arrays = {name: plain_array(batch.column(name)) for name in batch.schema.names}
        times: Times = batch.column(TIME).to_numpy()
        yield times[rows_hold(arrays, len(times), wanted)]


def _joined(pieces: Iterable[Times], gap_ns: int) -> Iterator[Span]:
    """Yield the clusters of sorted times that come in pieces, each once the next one begins."""
    held: Span | None = None
    for times in pieces:
        for first_ns, last_ns in _split(times, gap_ns):
            if held is not None and (not gap_ns or first_ns - held[1] <= gap_ns):
                held = (held[0], last_ns)
                continue
            if held is not None:
                yield held
            held = (first_ns, last_ns)
    if held is not None:
        yield held


def _split(times: Times, gap_ns: int) -> Iterator[Span]:
    """Yield the clusters of sorted times."""
    if not len(times):
        return
    if not gap_ns:
        yield int(times[0]), int(times[-1])
        return
    # unsigned, since two times may lie further apart than a signed difference holds
    steps = (times[1:].astype(np.uint64) - times[:-1].astype(np.uint64)) > np.uint64(gap_ns)
    edges = np.flatnonzero(steps)
    first = np.concatenate(([0], edges + 1))
    last = np.concatenate((edges, [len(times) - 1]))
    for start in range(0, len(first), _SPANS_AT_ONCE):
        chosen = slice(start, start + _SPANS_AT_ONCE)
        yield from zip(times[first[chosen]].tolist(), times[last[chosen]].tolist(), strict=True)


def overlaps(sets: Iterable[Iterable[Span]], tolerance_ns: int) -> Iterator[Span]:
    """Yield the times at which every set has a cluster at most ``tolerance_ns`` away.

    The clusters of a set come in order of time and apart from one another; of each set one is held.
    """
    streams = [_widened(spans, tolerance_ns) for spans in sets]
    heads: list[Span] = []
    for stream in streams:
        head = next(stream, None)
        if head is None:
            return
        heads.append(head)
    while heads:
        start_ns = max(start for start, _ in heads)
        place = min(range(len(heads)), key=lambda n: heads[n][1])
        end_ns = heads[place][1]
        if start_ns <= end_ns:
            yield start_ns, end_ns
        head = next(streams[place], None)
        if head is None:
            return
        heads[place] = head


def _widened(spans: Iterable[Span], by_ns: int) -> Iterator[Span]:
    """Yield the spans made longer on both sides, those that then touch as one."""
    held: Span | None = None
    for first_ns, last_ns in spans:
        start_ns, end_ns = first_ns - by_ns, last_ns + by_ns
        if held is not None and start_ns <= held[1]:
            held = (held[0], max(held[1], end_ns))
            continue
        if held is not None:
            yield held
        held = (start_ns, end_ns)
    if held is not None:
        yield held
