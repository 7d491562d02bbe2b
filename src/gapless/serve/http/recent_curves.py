"""Small curves of sequences that still grow: drawn anew only as often as they are cheap."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from gapless.serve.http.drawn_field import DrawnField

_SHARE: Final = 20  # a curve is good for this many times as long as it took
_LONGEST_S: Final = 30.0
Key = Hashable


@dataclass(frozen=True, slots=True)
class _Recent:
    curve: DrawnField
    until_s: float


class RecentCurves:
    """Keeps the curves that were asked for last, so that all who watch cost a twentieth of a core for each.

    Any thread may ask. ``clock``: seconds that never go back; ``most``: curves that are kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, most: int = 256) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, _Recent] = OrderedDict()

    def get(self, key: Key, draw: Callable[[], DrawnField]) -> DrawnField:
        """Return the curve of that key, at most 30 s old."""
        began_s = self._clock()
        with self._lock:
            found = self._kept.get(key)
        if found is not None and began_s < found.until_s:
            return found.curve
        curve = draw()
        now_s = self._clock()
        with self._lock:
            self._kept[key] = _Recent(curve, now_s + min(_LONGEST_S, _SHARE * (now_s - began_s)))
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return curve
