"""When rows satisfy conditions: clusters of their times, and the times at which several topics do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.catalog.answer import Span, clusterize, intersect
from gapless.catalog.row_test import plain_array, rows_hold
from gapless.errors import QueryRefused
from gapless.model.expression import And
from gapless.model.normal_form import Condition, normal_form
from gapless.serve.mosaico.query import row_conditions
from gapless.serve.mosaico.row_shape import UNMODELED
from gapless.store.declaration import TIME
from gapless.store.reader import TopicReader

Times = NDArray[np.int64]


def clusters(
    reader: TopicReader,
    conditions: Mapping[str, Any],
    gap_ns: int,
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> list[Span]:
    """Return first and last time of each cluster of matching rows of a topic, both bounds included.

    A cluster ends where the next matching row is more than ``gap_ns`` later; a gap of 0 makes one cluster
    of all of them. No conditions: every row matches.
    """
    tag = str(reader.ontology.get("tag") or UNMODELED)
    wanted = _row_group(conditions, tag)
    paths = {condition.predicate.path for condition in wanted}
    columns = [name for name in reader.schema.names if name in paths]
    found: list[Span] = []
    stop_ns = None if end_ns is None or end_ns == 2**63 - 1 else end_ns + 1
    for batch in reader.scan(columns, start_ns, stop_ns):
        arrays = {name: plain_array(batch.column(name)) for name in batch.schema.names}
        times: Times = batch.column(TIME).to_numpy()
        times = times[rows_hold(arrays, len(times), wanted)]
        for span in _split(times, gap_ns):
            if found and (not gap_ns or span[0] - found[-1][1] <= gap_ns):
                found[-1] = (found[-1][0], span[1])
            else:
                found.append(span)
    return found


def _row_group(conditions: Mapping[str, Any], tag: str) -> Sequence[Condition]:
    expressions = tuple(row_conditions(conditions, tag))
    if not expressions:
        return ()
    try:
        [alternative] = normal_form(And(expressions))
    except QueryRefused as error:
        raise pa.ArrowInvalid(f"query: {error}") from error
    return alternative.groups[0].conditions


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
    yield from zip(times[first].tolist(), times[last].tolist(), strict=True)


def overlaps(sets: Iterable[Sequence[Span]], tolerance_ns: int) -> list[Span]:
    """Return the times at which every set has a cluster at most ``tolerance_ns`` away."""
    return intersect(
        [clusterize([(a - tolerance_ns, b + tolerance_ns) for a, b in spans], 0) for spans in sets]
    )
