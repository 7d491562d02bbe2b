"""Holes in a producer's own numbering: every number that never came becomes part of a gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclass(slots=True)
class Hole:
    """Numbers ``first`` to ``last`` are missing between two stamps.

    ``arrived`` of them did come and were given up or damaged here, so that they are told of already: which of the
    numbers they had nobody knows.
    """

    first: int
    last: int
    start_ns: int
    end_ns: int
    arrived: int = 0

    @property
    def missing(self) -> int:
        """How many of the numbers never came."""
        return self.last - self.first + 1 - self.arrived

    def part(self, first: int, last: int, arrived: int) -> Hole:
        """Return a part of the hole, at most so many of whose numbers came."""
        return Hole(first, last, self.start_ns, self.end_ns, min(arrived, last - first + 1))

    def to_json(self) -> list[int]:
        """Return the hole as a list, as short as it can be."""
        words = [self.first, self.last, self.start_ns, self.end_ns]
        return [*words, self.arrived] if self.arrived else words


@dataclass(slots=True)
class SeqHoles:
    """Follows a producer's numbers in arrival order.

    A number above the expected one opens a hole; a late number closes its part of a hole again; a number
    seen before is a duplicate and is kept.
    """

    expected: int | None = None
    last_ns: int = 0
    holes: list[Hole] = field(default_factory=list)

    def add(
        self,
        seqs: np.ndarray[Any, Any],
        times: np.ndarray[Any, Any],
        given_up: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """Take a run of numbers and their stamps into account.

        ``given_up``: how many messages came right before the message at an index, and have no row.
        """
        if not len(seqs):
            return
        if self.expected is None:
            self.expected = int(seqs[0])
        breaks = np.flatnonzero(np.diff(seqs, prepend=self.expected - 1) != 1)
        for i in breaks.tolist():
            # only the places where the numbering jumps are looked at one by one
            self._irregular(
                int(seqs[i]),
                int(times[i]),
                int(times[i - 1]) if i else self.last_ns,
                int(seqs[i - 1]) + 1 if i else None,
                given_up.get(i, 0),
            )
        self.expected = max(self.expected, int(seqs.max()) + 1)
        self._late_runs(seqs, breaks)
        self.last_ns = int(times[-1])

    def _irregular(self, seq: int, now_ns: int, before_ns: int, after: int | None, given_up: int) -> None:
        assert self.expected is not None
        if after is not None:
            self.expected = max(self.expected, after)
        if seq > self.expected:
            arrived = min(given_up, seq - self.expected)
            self.holes.append(Hole(self.expected, seq - 1, before_ns, now_ns, arrived))
            self.expected = seq

    def _late_runs(self, seqs: np.ndarray[Any, Any], breaks: np.ndarray[Any, Any]) -> None:
        if not self.holes:
            return
        edges = [0, *[b for b in breaks.tolist() if b], len(seqs)]
        for begin, end in pairwise(edges):
            first, last = int(seqs[begin]), int(seqs[end - 1])
            if any(h.first <= last and first <= h.last for h in self.holes):
                self._fill(first, last)

    def _fill(self, first: int, last: int) -> None:
        kept = []
        for hole in self.holes:
            if hole.last < first or hole.first > last:
                kept.append(hole)
                continue
            arrived = hole.arrived
            if hole.first < first:
                kept.append(hole.part(hole.first, first - 1, arrived))
                arrived -= kept[-1].arrived
            if hole.last > last:
                kept.append(hole.part(last + 1, hole.last, arrived))
        self.holes = kept

    @property
    def missing(self) -> int:
        """How many numbers never came."""
        return sum(h.missing for h in self.holes)

    def to_json(self) -> dict[str, Any]:
        """Return the state, to go on later."""
        return {
            "expected": self.expected,
            "last_ns": self.last_ns,
            "holes": [h.to_json() for h in self.holes],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> SeqHoles:
        """Return the state that :meth:`to_json` kept."""
        return cls(document["expected"], document["last_ns"], [Hole(*h) for h in document["holes"]])
