"""Maximal runs of consecutive rows, built part by part without a Python step per row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def _nothing() -> Ints:
    return np.empty((4, 0), np.int64)


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of a topic's rows in time order; one column each: first and last row, first and last timestamp."""

    table: Ints = field(default_factory=_nothing)

    def __len__(self) -> int:
        return int(self.table.shape[1])

    @property
    def rows(self) -> int:
        """Number of rows in all runs."""
        return int((self.table[1] - self.table[0] + 1).sum())

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last timestamp of each run."""
        return list(zip(self.table[2].tolist(), self.table[3].tolist(), strict=True))


class RunBuilder:
    """Takes a topic's rows in order and gives the runs of those that match."""

    def __init__(self) -> None:
        self._row = 0
        self._pieces: list[Ints] = []

    def skip(self, rows: int) -> None:
        """Take rows none of which match."""
        self._row += rows

    def take(self, rows: int, start_ns: int, end_ns: int) -> None:
        """Take rows that all match."""
        if rows:
            piece = np.array([[self._row], [self._row + rows - 1], [start_ns], [end_ns]], np.int64)
            self._pieces.append(piece)
        self._row += rows

    def mask(self, matches: NDArray[np.bool_], times: Ints) -> None:
        """Take rows of which those under a true value match."""
        rows = len(matches)
        if rows and matches.any():
            if matches.all():
                self.take(rows, int(times[0]), int(times[-1]))
                return
            steps = np.flatnonzero(matches[1:] != matches[:-1]) + 1
            edges = np.concatenate(([0], steps, [rows]))
            first, last = edges[:-1], edges[1:] - 1
            chosen = slice(0 if matches[0] else 1, None, 2)
            first, last = first[chosen], last[chosen]
            self._pieces.append(np.stack((first + self._row, last + self._row, times[first], times[last])))
        self._row += rows

    def runs(self) -> Runs:
        """Return the runs; two that meet are one."""
        return _joined(self._pieces)


def union(several: Iterable[Runs]) -> Runs:
    """Return the runs of the rows that are in at least one of several."""
    return _joined([runs.table for runs in several])


def _joined(pieces: list[Ints]) -> Runs:
    if not pieces:
        return Runs()
    table = np.concatenate(pieces, axis=1)
    table = table[:, np.argsort(table[0], kind="stable")]
    if table.shape[1] < 2:
        return Runs(table)
    reach = np.maximum.accumulate(table[1])
    starts = np.concatenate(([True], table[0, 1:] > reach[:-1] + 1))
    index = np.flatnonzero(starts)
    return Runs(
        np.stack(
            (
                table[0, index],
                np.maximum.reduceat(table[1], index),
                table[2, index],
                np.maximum.reduceat(table[3], index),
            )
        )
    )
