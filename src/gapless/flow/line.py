"""A bounded line of items with its policy and its figures, for one thread at a time.

Bridges and queues are this line plus a way to wait. The owner serialises all calls.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from gapless.errors import UsageError
from gapless.flow.metrics import HopMetrics, LatencyReservoir
from gapless.flow.policy import BackpressurePolicy

T = TypeVar("T")

DENSE_DEPTH = 16  # up to this depth every item is stamped: the ages of a hop that keeps up are exact
SPARSE_MASK = 63  # beyond it one item in 64 is, so that a burst costs no clock call per item


class BoundedLine(Generic[T]):
    """First in, first out, at most ``capacity`` items and ``max_bytes`` bytes.

    Dropped items are appended to ``dropped_items`` for the owner to take, if it asked for them by
    ``keep_dropped``. ``size`` tells the bytes of an item. One item larger than ``max_bytes`` is let in when the line is
    empty, so that no item can wait for ever. Raises UsageError for a bound below 1.
    """

    __slots__ = (
        "_blocked_ns",
        "_bytes",
        "_clock_ns",
        "_depth_max",
        "_entered",
        "_items",
        "_keep_dropped",
        "_latency",
        "_max_bytes",
        "_passed_stamp_ns",
        "_pushed_out",
        "_refused",
        "_size",
        "_sizes",
        "_stamps",
        "_taken",
        "_waits",
        "capacity",
        "dropped_items",
        "policy",
    )

    def __init__(
        self,
        capacity: int,
        policy: BackpressurePolicy,
        *,
        size: Callable[[T], int] | None = None,
        max_bytes: int | None = None,
        keep_dropped: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        _check_bounds(capacity, size is not None, max_bytes)
        self.capacity = capacity
        self.policy = policy
        self.dropped_items: list[T] = []
        self._keep_dropped = keep_dropped
        self._size = size
        self._max_bytes = max_bytes
        self._clock_ns = clock_ns
        self._items: deque[T] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._entered = self._taken = self._pushed_out = self._refused = 0
        self._depth_max = 0
        self._stamps: deque[tuple[int, int]] = deque()  # (index of entry, time of it), not of every item
        self._passed_stamp_ns = 0
        self._latency = LatencyReservoir()
        self._waits: dict[int, int] = {}
        self._blocked_ns = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def dropped(self) -> int:
        """Items given up by the policy."""
        return self._pushed_out + self._refused

    def offer(self, item: T) -> bool:
        """Return True when the item is in; else it was dropped, or, where producers wait, nothing happened."""
        depth = len(self._items)
        if depth >= self.capacity or self._size is not None:
            return self._offer_measured(item)
        self._items.append(item)
        if depth < DENSE_DEPTH or not self._entered & SPARSE_MASK:
            self._stamps.append((self._entered, self._clock_ns()))
        self._entered += 1
        return True

    def _offer_measured(self, item: T) -> bool:
        size_bytes = self._size(item) if self._size is not None else 0
        if not self._fits(size_bytes):
            if self.policy is BackpressurePolicy.DROP_NEWEST:
                self.refuse(item)
                return False
            if self.policy is not BackpressurePolicy.DROP_OLDEST:
                return False
            self._push_out(size_bytes)
        if len(self._items) < DENSE_DEPTH or not self._entered & SPARSE_MASK:
            self._stamps.append((self._entered, self._clock_ns()))
        self._items.append(item)
        self._entered += 1
        if self._size is not None:
            self._sizes.append(size_bytes)
            self._bytes += size_bytes
        return True

    def _fits(self, size_bytes: int) -> bool:
        if len(self._items) >= self.capacity:
            return False
        return self._max_bytes is None or not self._items or self._bytes + size_bytes <= self._max_bytes

    def _push_out(self, size_bytes: int) -> None:
        """Give up the oldest items until the new one fits."""
        self._depth_max = max(self._depth_max, len(self._items))
        while not self._fits(size_bytes):
            item = self._items.popleft()
            self._pushed_out += 1
            if self._keep_dropped:
                self.dropped_items.append(item)
            if self._sizes:
                self._bytes -= self._sizes.popleft()
        self._forget_stamps()

    def refuse(self, item: T) -> None:
        """Count an item as offered and dropped."""
        self._refused += 1
        if self._keep_dropped:
            self.dropped_items.append(item)

    def take(self, max_items: int) -> list[T]:
        """Return the oldest items, at most ``max_items``, and forget them."""
        depth = len(self._items)
        if not depth:
            return []
        if depth > self._depth_max:
            self._depth_max = depth
        if depth <= max_items:
            burst = list(self._items)
            self._items.clear()
            self._sizes.clear()
            self._bytes = 0
        else:
            popleft = self._items.popleft
            burst = [popleft() for _ in range(max_items)]
            if self._sizes:
                self._bytes -= sum(self._sizes.popleft() for _ in burst)
        self._taken += len(burst)
        now_ns = self._clock_ns()
        for stamp_ns in self._forget_stamps():
            self._latency.add(now_ns - stamp_ns)
        return burst

    def _forget_stamps(self) -> list[int]:
        """Return the stamps of items that have left, and forget them."""
        head = self._entered - len(self._items)
        stamps = self._stamps
        left = []
        while stamps and stamps[0][0] < head:
            left.append(stamps.popleft()[1])
        if left:
            self._passed_stamp_ns = left[-1]
        return left

    def take_dropped(self) -> list[T]:
        """Return what was dropped since the last call."""
        dropped, self.dropped_items = self.dropped_items, []
        return dropped

    def oldest_age_ns(self) -> int:
        """Return how long the oldest item has been in, never too little; 0 when there is none.

        It is exact for items that met fewer than 16 others, and that of one of 64 neighbours otherwise.
        """
        if not self._items:
            return 0
        head = self._entered - len(self._items)
        exact = bool(self._stamps) and self._stamps[0][0] == head
        return self._clock_ns() - (self._stamps[0][1] if exact else self._passed_stamp_ns)

    def wait_began(self, producer: int) -> None:
        """Note that a producer waits for room; a wait that goes on keeps its beginning."""
        self._waits.setdefault(producer, self._clock_ns())

    def wait_ended(self, producer: int) -> None:
        """Note that a producer waits no more; one that did not wait changes nothing."""
        since_ns = self._waits.pop(producer, None)
        if since_ns is not None:
            self._blocked_ns += self._clock_ns() - since_ns

    @property
    def blocked_since_ns(self) -> int | None:
        """When the producer that waits longest began to wait, None when none does."""
        return min(self._waits.values(), default=None)

    def metrics(self) -> HopMetrics:
        """Return the figures as they are now."""
        depth = len(self._items)
        self._depth_max = max(self._depth_max, depth)
        now_ns = self._clock_ns() if self._waits else 0
        waiting_ns = sum(now_ns - since_ns for since_ns in self._waits.values())
        p50_ns, p99_ns, _ = self._latency.percentiles_ns()
        return HopMetrics(
            put=self._entered + self._refused,
            taken=self._taken,
            dropped=self.dropped,
            depth=depth,
            depth_max=self._depth_max,
            blocked_ns=self._blocked_ns + waiting_ns,
            blocked_since_ns=self.blocked_since_ns,
            latency_p50_ns=p50_ns,
            latency_p99_ns=p99_ns,
        )


def _check_bounds(capacity: int, is_measured: bool, max_bytes: int | None) -> None:
    if capacity < 1:
        raise UsageError("a hand-over needs room for an item", found=capacity, expected="capacity >= 1")
    if max_bytes is not None and (max_bytes < 1 or not is_measured):
        raise UsageError(
            "a bound in bytes needs a size of each item", found=max_bytes, expected="max_bytes >= 1 and size="
        )
