"""Which rows repeat a sample because others are missing: across a recorded gap, or in a hole of a regular topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gapless.store.declaration import TIME

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

Times = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]

_HOLE_PERIODS = 1.5  # between two samples: jitter is less, and one lost sample makes it 2
_DUE_PERIODS = 0.75  # after a sample: the next one should be there, jitter allowed for


def gap_starts(sequence: SequenceHandler) -> dict[str, Times]:
    """Return where the recorded gaps of each topic begin, in order: at the last sample before, or after it."""
    table = sequence.topic("_gaps").reader.to_arrow([TIME, "topic"])
    starts: dict[str, list[int]] = {}
    for time_ns, topic in zip(table[TIME].to_pylist(), table["topic"].to_pylist(), strict=True):
        starts.setdefault(topic, []).append(time_ns)
    return {topic: np.sort(np.array(times, np.int64)) for topic, times in starts.items()}


def across_gap(times: Times, stamps: Times, starts: Times | None) -> Marks:
    """Mark the rows between whose sample and whose time a recorded gap begins."""
    if starts is None:
        return np.zeros(len(times), np.bool_)
    began = np.searchsorted(starts, times, "right") > np.searchsorted(starts, stamps, "left")
    across: Marks = began & (times > stamps)
    return across


def in_hole(sequence: SequenceHandler, topic: str, times: Times, stamps: Times) -> Marks:
    """Mark the rows that repeat the sample of the row before when the next one was due and never came.

    Due is what the topic's usual period says, so a topic that is slower than the rows has no such row while all
    its samples are there.
    """
    period_ns = _period_ns(sequence, topic)
    repeated = np.zeros(len(times), np.bool_)
    repeated[1:] = np.diff(stamps) == 0
    if not period_ns or not repeated.any():
        return np.zeros(len(times), np.bool_)
    before = [
        last[apart > _HOLE_PERIODS * period_ns] for last, apart in _spacing(sequence, topic)
    ]  # the last samples before holes
    marks: Marks = (
        repeated & np.isin(stamps, np.concatenate(before)) & (times - stamps >= _DUE_PERIODS * period_ns)
    )
    return marks


def _period_ns(sequence: SequenceHandler, topic: str) -> float:
    """Return the usual time between two samples; 0 where there is none."""
    medians = [float(np.median(apart)) for _, apart in _spacing(sequence, topic) if len(apart)]
    return float(np.median(medians)) if medians else 0.0


def _spacing(sequence: SequenceHandler, topic: str) -> Iterator[tuple[Times, Times]]:
    """Yield samples in order of time, batch by batch, and how long after each the next one came."""
    last = np.empty(0, np.int64)
    for batch in sequence.topic(topic).scan([]):
        stamps = np.concatenate([last, batch.column(TIME).to_numpy()])
        last = stamps[-1:]
        yield stamps[:-1], np.diff(stamps)
