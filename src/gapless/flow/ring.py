"""The latest part of each channel for plots: a bounded number of points in which every spike survives.

For plots only: what is recorded never passes here.
"""

from __future__ import annotations

import math
import threading

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gapless.errors import NotFound, UsageError, ValueRefused

PLOT_MAX_HZ = 60.0
NEVER = -(2**63)  # no bucket: below any that a time in ns falls into


class RingBuffer:
    """A window of ``window_s`` seconds before the latest time pushed, of at most ``window_s * max_hz`` points.

    Time is cut into buckets of ``2 / max_hz`` seconds; of each the lowest and the highest point are kept
    with their own times. A late point joins the bucket it belongs to; when the clock goes back by more
    than the window, the ring starts anew. Safe to read from other threads than the one that pushes.
    Raises UsageError when the window cannot hold one bucket.
    """

    def __init__(self, window_s: float, max_hz: float = PLOT_MAX_HZ) -> None:
        buckets = int(window_s * max_hz / 2) if window_s > 0 and max_hz > 0 else 0
        if buckets < 1:
            raise UsageError("a ring holds no point", found=f"{window_s} s at {max_hz} Hz")
        self._bucket_ns = math.ceil(window_s * 1e9 / buckets)
        self._window_ns = int(window_s * 1e9)
        self._lock = threading.Lock()
        self._bucket = np.full(buckets, NEVER, np.int64)
        self._low_t = np.zeros(buckets, np.int64)
        self._low_v = np.zeros(buckets)
        self._high_t = np.zeros(buckets, np.int64)
        self._high_v = np.zeros(buckets)
        self._newest = NEVER
        self._last: tuple[int, float] | None = None

    @property
    def last(self) -> tuple[int, float] | None:
        """The point pushed last, None before the first."""
        return self._last

    def push(self, t_ns: int, value: float) -> None:
        """Add a point. NaN is kept only where its bucket has no number."""
        with self._lock:
            self._add(t_ns, value, t_ns, value)
            self._last = (t_ns, value)

    def push_block(self, times_ns: ArrayLike, values: ArrayLike) -> None:
        """Add many points, in any order of time. Raises ValueRefused unless both are flat and equally long."""
        t = np.asarray(times_ns, np.int64)
        v = np.asarray(values, np.float64)
        if t.ndim != 1 or t.shape != v.shape:
            raise ValueRefused(
                "times and values of a block differ", found=f"{t.shape} and {v.shape}", expected="one length"
            )
        if not len(t):
            return
        last = (int(t[-1]), float(v[-1]))
        if (t[1:] < t[:-1]).any():
            order = np.argsort(t, kind="stable")
            t, v = t[order], v[order]
        bounds = np.flatnonzero(np.diff(t // self._bucket_ns)) + 1
        with self._lock:
            for start, stop in zip([0, *bounds.tolist()], [*bounds.tolist(), len(t)], strict=True):
                self._add_run(t[start:stop], v[start:stop])
            self._last = last

    def _add_run(self, t: NDArray[np.int64], v: NDArray[np.float64]) -> None:
        """Add points of one bucket."""
        if np.isnan(v).all():
            low = high = 0
        else:
            low, high = int(np.nanargmin(v)), int(np.nanargmax(v))
        self._add(int(t[low]), float(v[low]), int(t[high]), float(v[high]))

    def _add(self, low_t: int, low_v: float, high_t: int, high_v: float) -> None:
        """Widen a bucket to these two points; start it when what its place holds is older."""
        bucket = low_t // self._bucket_ns
        if bucket <= self._newest - len(self._bucket):
            self._bucket[:] = NEVER
            self._newest = bucket
        self._newest = max(self._newest, bucket)
        place = bucket % len(self._bucket)
        if self._bucket[place] != bucket:
            self._bucket[place] = bucket
            self._low_t[place], self._low_v[place] = low_t, low_v
            self._high_t[place], self._high_v[place] = high_t, high_v
            return
        if low_v < self._low_v[place] or math.isnan(self._low_v[place]):
            self._low_t[place], self._low_v[place] = low_t, low_v
        if high_v > self._high_v[place] or math.isnan(self._high_v[place]):
            self._high_t[place], self._high_v[place] = high_t, high_v

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return times in ns, ascending, and values: copies, of the window only."""
        with self._lock:
            kept = self._bucket > max(self._newest - len(self._bucket), NEVER)
            low_t, low_v = self._low_t[kept], self._low_v[kept]
            high_t, high_v = self._high_t[kept], self._high_v[kept]
        is_pair = (low_t != high_t) | ((low_v != high_v) & ~np.isnan(low_v))
        t = np.concatenate([low_t, high_t[is_pair]])
        v = np.concatenate([low_v, high_v[is_pair]])
        order = np.argsort(t, kind="stable")
        t, v = t[order], v[order]
        first = int(np.searchsorted(t, t[-1] - self._window_ns, side="right")) if len(t) else 0
        return t[first:], v[first:]


class RingBufferRegistry:
    """One ring for each channel, made by its first point. Raises UsageError as RingBuffer does."""

    def __init__(self, window_s: float, max_hz: float = PLOT_MAX_HZ) -> None:
        RingBuffer(window_s, max_hz)  # a window that holds no point is refused here, not at the first push
        self._window_s = window_s
        self._max_hz = max_hz
        self._rings: dict[str, RingBuffer] = {}
        self._lock = threading.Lock()

    def push(self, channel: str, t_ns: int, value: float) -> None:
        """Add a point to the channel's ring."""
        self._ring(channel).push(t_ns, value)

    def push_block(self, channel: str, times_ns: ArrayLike, values: ArrayLike) -> None:
        """Add many points to the channel's ring."""
        self._ring(channel).push_block(times_ns, values)

    def _ring(self, channel: str) -> RingBuffer:
        ring = self._rings.get(channel)
        if ring is not None:
            return ring
        with self._lock:
            return self._rings.setdefault(channel, RingBuffer(self._window_s, self._max_hz))

    def names(self) -> list[str]:
        """Return the channels that have points, in the order in which they came."""
        with self._lock:
            return list(self._rings)

    def get(self, channel: str) -> RingBuffer:
        """Return the channel's ring. Raises NotFound when it has no points."""
        ring = self._rings.get(channel)
        if ring is None:
            raise NotFound(
                f"the channel {channel!r} has no points yet", found=", ".join(self.names()) or None
            )
        return ring
