"""A seeded sample of rows of many entries, which does not depend on the order in which they come."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from gapless.features.entry import EntryKey
from gapless.features.library.track import complete

_SLACK = 2  # rows are thrown away when this many times too many are held


class RowSample:
    """At most ``rows`` rows of all that are added, each with the same chance.

    Every row of every entry draws a number that depends on the seed, the entry and its place alone; the lowest
    numbers stay. So the sample is the same whatever the order of entries, and an entry more or less changes
    few rows. Memory is that of twice the sample and one entry.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._held: list[tuple[EntryKey, NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]] = []

    def add(self, key: EntryKey, values: NDArray[np.float64]) -> None:
        """Add the rows of an entry, rows × columns; those with a missing or infinite value are left out."""
        place = np.flatnonzero(complete(values))
        drawn = self._numbers(key, len(values))[place]
        self._held.append((key, place, drawn, values[place]))
        if sum(len(place) for _, place, _, _ in self._held) > _SLACK * self._rows:
            self._shrink()

    def taken(self) -> dict[EntryKey, tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Return of each entry with rows in the sample their places and values, in order of entries and rows."""
        self._shrink()
        held = sorted(self._held, key=lambda item: item[0])
        return {key: (place, values) for key, place, _, values in held if len(place)}

    def _shrink(self) -> None:
        drawn = np.concatenate([np.empty(0), *(drawn for _, _, drawn, _ in self._held)])
        if len(drawn) <= self._rows:
            return
        limit = np.partition(drawn, self._rows - 1)[self._rows - 1]
        self._held = [
            (key, place[drawn <= limit], drawn[drawn <= limit], values[drawn <= limit])
            for key, place, drawn, values in self._held
        ]

    def _numbers(self, key: EntryKey, count: int) -> NDArray[np.float64]:
        text = f"{self._seed}\0{key[0]}\0{key[1]}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:16], "big")
        return np.random.Generator(np.random.PCG64(seed)).random(count)
