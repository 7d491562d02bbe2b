"""The queue of one subscription: bounded, with a policy, for tasks of one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from gapless.errors import BridgeClosed, BridgeEnded, UsageError
from gapless.flow.line import BoundedLine
from gapless.flow.metrics import HopMetrics
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.wakeup import resolve

T = TypeVar("T")

QUEUE_ITEMS = 256
ABORT_AFTER_S = 5.0


class BoundedQueue(Generic[T]):
    """At most ``capacity`` items between tasks of one loop.

    BLOCK: ``put`` waits. DROP_OLDEST: it never does. ABORT_RUN: it waits, but when one wait lasts longer
    than ``abort_after_s`` then ``on_abort`` is called once with the reason, and from then on what finds no
    room is dropped and counted. Raises UsageError for DROP_NEWEST and for ABORT_RUN without ``on_abort``.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int = QUEUE_ITEMS,
        policy: BackpressurePolicy = BackpressurePolicy.DROP_OLDEST,
        on_abort: Callable[[str], None] | None = None,
        abort_after_s: float = ABORT_AFTER_S,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        _check_policy(policy, on_abort, abort_after_s)
        self.name = name
        self.capacity = capacity
        self.policy = policy
        self._on_abort = on_abort
        self._abort_after_s = abort_after_s
        self._aborted = False
        self._line: BoundedLine[T] = BoundedLine(capacity, policy, clock_ns=clock_ns)
        self._reader: asyncio.Future[None] | None = None
        self._producers: list[asyncio.Future[None]] = []
        self._closed = False
        self._error: BaseException | None = None

    @property
    def closed(self) -> bool:
        """True once nothing more can be put."""
        return self._closed

    @property
    def dropped(self) -> int:
        """Items given up by the policy."""
        return self._line.dropped

    @property
    def depth(self) -> int:
        """Items that wait to be taken."""
        return len(self._line)

    @property
    def blocked_since_ns(self) -> int | None:
        """Monotonic time at which the producer that waits longest began to; None when none waits."""
        return self._line.blocked_since_ns

    def metrics(self) -> HopMetrics:
        """Return the figures of this moment."""
        return self._line.metrics()

    def put_nowait(self, item: T) -> bool:
        """Put an item; return False, and do nothing, when its producer has to wait for room.

        True means that the item is settled: it is in, or was dropped by the policy and counted. Raises
        BridgeClosed after ``close``.
        """
        if self._closed:
            raise BridgeClosed(f"the queue {self.name!r} is closed")
        line = self._line
        if not line.offer(item):
            if self._aborted:
                line.refuse(item)
            return self._aborted
        if self._reader is not None:
            reader, self._reader = self._reader, None
            resolve([reader])
        return True

    async def put(self, item: T) -> None:
        """Put an item when there is room. Raises BridgeClosed, also when the queue is closed meanwhile.

        Whatever it raises, CancelledError included, the item is not in.
        """
        if self.put_nowait(item):
            return
        limit_s = self._abort_after_s if self.policy is BackpressurePolicy.ABORT_RUN else None
        wait = object()
        self._line.wait_began(id(wait))
        try:
            async with asyncio.timeout(limit_s):
                await self._put_with_room(item)
        except TimeoutError:
            self._abort()
            self.put_nowait(item)
        finally:
            self._line.wait_ended(id(wait))

    async def _put_with_room(self, item: T) -> None:
        while not self.put_nowait(item):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._producers.append(future)
            try:
                await future
            finally:
                if future in self._producers:
                    self._producers.remove(future)

    def _abort(self) -> None:
        """Drop from now on, free the other producers, and tell the owner, once."""
        if self._aborted or self._on_abort is None:
            return
        self._aborted = True
        self._free_producers()
        self._on_abort(
            f"the subscription {self.name!r} kept a publisher waiting for {self._abort_after_s} s"
            f" with {self.depth} items in its queue"
        )

    def _free_producers(self) -> None:
        producers, self._producers = self._producers, []
        resolve(producers)

    async def get(self) -> T:
        """Return the next item. Raises BridgeEnded, or what ended the queue, when closed and empty."""
        burst = await self.get_burst(1)
        if not burst:
            raise BridgeEnded(f"the queue {self.name!r} has ended")
        return burst[0]

    async def get_burst(self, max_items: int = QUEUE_ITEMS) -> list[T]:
        """Return the next items, at least one and at most ``max_items``; none, for ever, after the end.

        Raises, instead of returning none, the error that ended the queue.
        """
        if max_items < 1:
            raise UsageError("a burst has at least one item", found=max_items, expected="max_items >= 1")
        while not (burst := self._line.take(max_items)):
            if self._error is not None:
                raise self._error
            if self._closed:
                return []
            await self._wait_for_item()
        if self._producers:
            self._free_producers()
        return burst

    async def _wait_for_item(self) -> None:
        if self._reader is not None:
            raise UsageError(f"the queue {self.name!r} has a reader that waits already")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = future
        try:
            await future
        finally:
            if self._reader is future:
                self._reader = None

    def close(self, error: BaseException | None = None) -> None:
        """Take no more items; what is in is still delivered, then the reader ends, or gets ``error``.

        Producers that wait get BridgeClosed. Closing again changes nothing, but a first error is kept.
        """
        self._error = self._error or error
        if self._closed:
            return
        self._closed = True
        self._free_producers()
        if self._reader is not None:
            resolve([self._reader])


def _check_policy(
    policy: BackpressurePolicy, on_abort: Callable[[str], None] | None, abort_after_s: float
) -> None:
    if policy is BackpressurePolicy.DROP_NEWEST:
        raise UsageError("a subscription never drops the newest item", found=policy.value)
    if policy is BackpressurePolicy.ABORT_RUN and (on_abort is None or not abort_after_s > 0):
        raise UsageError("abort_run needs on_abort and abort_after_s above 0", found=abort_after_s)
