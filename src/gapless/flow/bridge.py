"""A bounded hand-over between threads and event loops: order kept, every item counted, wake-ups coalesced.

Producers are threads or tasks of any loop; the consumer is one task or one thread. An item costs a lock and
an append; a loop is woken only when it waits, so a burst costs one ``call_soon_threadsafe`` however long it
is. Figures balance at every moment: ``put == taken + dropped + depth``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

from gapless.errors import BridgeClosed, BridgeEnded, DeadlinePassed, UsageError, WrongThread
from gapless.flow.deadline import Deadline
from gapless.flow.line import BoundedLine
from gapless.flow.metrics import HopMetrics
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.wakeup import Party, Wakeup

T = TypeVar("T")
P = TypeVar("P", bound=Party)

BURST_ITEMS = 1024


class ThreadBridge(AsyncIterator[T]):
    """At most ``capacity`` items (and ``max_bytes``, as ``size`` tells them) between producers and a consumer.

    ``policy`` says what a full bridge does with an item; ABORT_RUN belongs to subscriptions and raises
    UsageError. ``on_drop`` is called with each item that was given up, on the thread that put the item it
    was given up for, outside of any lock; what it raises, that put raises.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int,
        policy: BackpressurePolicy = BackpressurePolicy.BLOCK,
        size: Callable[[T], int] | None = None,
        max_bytes: int | None = None,
        on_drop: Callable[[T], None] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if policy is BackpressurePolicy.ABORT_RUN:
            raise UsageError("a bridge cannot end a run", found=policy.value, expected="another policy")
        self.name = name
        self.policy = policy
        self.capacity = capacity
        self._line = BoundedLine(
            capacity,
            policy,
            size=size,
            max_bytes=max_bytes,
            keep_dropped=on_drop is not None,
            clock_ns=clock_ns,
        )
        self._on_drop = on_drop
        # Reentrant: the collector may end a task of a dead loop, which withdraws, inside any call.
        self._lock = threading.RLock()
        self._readers = Wakeup()
        self._room = Wakeup()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taken_in_a_row = 0

    @property
    def closed(self) -> bool:
        """True once nothing more can be put."""
        return self._closed

    @property
    def lost_consumers(self) -> int:
        """How often the waiting consumer's loop was found closed; its items stay for ``take_nowait``."""
        return self._readers.lost_loops

    def put_nowait(self, item: T) -> bool:
        """Put an item without waiting; return whether it is in.

        False under BLOCK means that there is no room and nothing happened; under DROP_NEWEST that the
        item was dropped. Raises BridgeClosed after ``close``.
        """
        with self._lock:
            if self._closed:
                raise self._closed_error()
            is_in = self._line.offer(item)
            if not (self._readers.waiting and is_in) and not self._line.dropped_items:
                return is_in
            parties = self._readers.gather() if is_in else []
            dropped = self._line.take_dropped()
        self._readers.ring(parties)
        self._report(dropped)
        return is_in

    def put_burst(self, items: Iterable[T]) -> None:
        """Put items in their order without waiting, under one lock and with one wake-up.

        For the policies that drop; UsageError under BLOCK. Raises BridgeClosed after ``close``.
        """
        if self.policy is BackpressurePolicy.BLOCK:
            raise UsageError("a burst is put without waiting", found="block", next_step="use put_many")
        offer = self._line.offer
        with self._lock:
            if self._closed:
                raise self._closed_error()
            for item in items:
                offer(item)
            parties = self._readers.gather() if self._readers.waiting else []
            dropped = self._line.take_dropped() if self._line.dropped_items else []
        self._readers.ring(parties)
        self._report(dropped)

    async def put(self, item: T, timeout_s: float | None = None) -> bool:
        """Put an item, waiting for room where the policy is BLOCK; return False when it was dropped.

        Raises BridgeClosed when the bridge is closed, DeadlinePassed after ``timeout_s``. Whatever it
        raises, CancelledError included, the item is not in.
        """
        if self.put_nowait(item):
            return True
        if self.policy is not BackpressurePolicy.BLOCK:
            return False
        await self.put_many(deque((item,)), timeout_s)
        return True

    async def put_many(self, items: Iterable[T], timeout_s: float | None = None) -> None:
        """Put items in their order, as many at a time as there is room for.

        Raises as ``put`` does; then a beginning of the items is in and the rest is not. A deque is
        emptied from the left as its items go in, so what is left in it was not put.
        """
        rest = items if isinstance(items, deque) else deque(items)
        future = self._move_in(rest, self._room.enlist_task)
        if future is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                while future is not None:
                    await future
                    future = self._move_in(rest, self._room.enlist_task)
        except TimeoutError:
            raise self._too_late(timeout_s) from None
        finally:
            self._stop_waiting(rest, future)

    def put_blocking(self, item: T, timeout_s: float) -> bool:
        """Put an item from a plain thread, as ``put`` does on a loop, within ``timeout_s``."""
        if self.put_nowait(item):
            return True
        if self.policy is not BackpressurePolicy.BLOCK:
            return False
        rest = deque((item,))
        event: threading.Event | None = None
        deadline = Deadline(timeout_s)
        try:
            while (event := self._move_in(rest, self._room.enlist_thread)) is not None:
                if not event.wait(deadline.left_s):
                    raise self._too_late(timeout_s)
        finally:
            self._stop_waiting(rest, event)
        return True

    def _move_in(self, items: deque[T], enlist: Callable[[], P]) -> P | None:
        """Put from the left what there is room for; return None when all are in, else what to wait on."""
        party: P | None = None
        with self._lock:
            if self._closed:
                raise self._closed_error()
            before = len(items)
            waits_for_room = self.policy is BackpressurePolicy.BLOCK
            while items and (self._line.offer(items[0]) or not waits_for_room):
                items.popleft()
            if len(items) < before:
                self._line.wait_ended(id(items))
            if items:
                self._line.wait_began(id(items))
                party = enlist()
            parties = self._readers.gather() if self._readers.waiting and len(self._line) else []
            dropped = self._line.take_dropped()
        self._readers.ring(parties)
        self._report(dropped)
        return party

    def _stop_waiting(self, items: deque[T], party: Party | None) -> None:
        with self._lock:
            self._line.wait_ended(id(items))
            if party is not None:
                self._room.withdraw(party)

    def _report(self, dropped: list[T]) -> None:
        if self._on_drop is not None:
            for item in dropped:
                self._on_drop(item)

    def _closed_error(self) -> BridgeClosed:
        return BridgeClosed(f"the bridge {self.name!r} is closed")

    def _too_late(self, timeout_s: float | None) -> DeadlinePassed:
        return DeadlinePassed(
            f"the bridge {self.name!r} had no room; the item was not put",
            found=f"{len(self._line)} items waiting",
            expected=f"room within {timeout_s} s",
            next_step="see what keeps its consumer",
        )

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the loop the consumer's; the first ``get`` does it otherwise.

        Raises WrongThread when another loop, one that is not closed, reads already.
        """
        with self._lock:
            if self._loop is not None and self._loop is not loop:
                if not self._loop.is_closed():
                    raise WrongThread(
                        f"the bridge {self.name!r} is read on another event loop",
                        next_step="read it on one loop",
                    )
                self._readers.gather()  # whoever waited on the closed loop waits no more
            self._loop = loop

    async def get(self) -> T:
        """Return the next item. Raises BridgeEnded, from then on for ever, when closed and empty."""
        burst = await self.get_burst(1)
        if not burst:
            raise BridgeEnded(f"the bridge {self.name!r} has ended")
        return burst[0]

    async def get_burst(self, max_items: int = BURST_ITEMS) -> list[T]:
        """Return the next items, at least one and at most ``max_items``; none, for ever, after the end.

        A reader that always finds items lets other tasks of its loop run once per 1,024 of them. When it
        is cancelled no item has been taken.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.attach(loop)
        if self._taken_in_a_row >= BURST_ITEMS:
            self._taken_in_a_row = 0
            await asyncio.sleep(0)
        while True:
            burst, future = self._take(max_items, self._readers.enlist_task)
            if future is None:
                self._taken_in_a_row += len(burst)
                return burst
            self._taken_in_a_row = 0
            try:
                await future
            finally:
                self._stop_reading(future)

    def take_blocking(self, max_items: int, timeout_s: float) -> list[T]:
        """Return the next items to a plain thread, as ``get_burst`` does; DeadlinePassed when none come."""
        deadline = Deadline(timeout_s)
        while True:
            burst, event = self._take(max_items, self._readers.enlist_thread)
            if event is None:
                return burst
            try:
                came = event.wait(deadline.left_s)
            finally:
                self._stop_reading(event)
            if not came:
                raise DeadlinePassed(
                    f"nothing came over the bridge {self.name!r}",
                    expected=f"an item within {timeout_s} s",
                    next_step="see what keeps its producers",
                )

    def take_nowait(self, max_items: int = BURST_ITEMS) -> list[T]:
        """Return the next items without waiting, from any thread; none when the bridge is empty."""
        _check_burst(max_items)
        with self._lock:
            burst = self._line.take(max_items)
            parties = self._room.gather() if burst else []
        self._room.ring(parties)
        return burst

    def _take(self, max_items: int, enlist: Callable[[], P]) -> tuple[list[T], P | None]:
        """Return items, or no items and None at the end, or no items and what to wait on."""
        _check_burst(max_items)
        with self._lock:
            burst = self._line.take(max_items)
            if not burst and not self._closed:
                if self._readers.waiting:
                    raise UsageError(f"the bridge {self.name!r} has a reader that waits already")
                return burst, enlist()
            parties = self._room.gather() if self._room.waiting else []
        self._room.ring(parties)
        return burst, None

    def _stop_reading(self, party: Party) -> None:
        with self._lock:
            self._readers.withdraw(party)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        burst = await self.get_burst(1)
        if not burst:
            raise StopAsyncIteration
        return burst[0]

    def close(self) -> None:
        """Take no more items, from any thread, any number of times; what is in is still delivered.

        Producers that wait get BridgeClosed, and their items are not in.
        """
        with self._lock:
            self._closed = True
            readers, producers = self._readers.gather(), self._room.gather()
        self._readers.ring(readers)
        self._room.ring(producers)

    def metrics(self) -> HopMetrics:
        """Return the figures of this moment, from any thread."""
        with self._lock:
            return self._line.metrics()

    def oldest_age_ns(self) -> int:
        """Return how long the oldest item has waited, never too little; 0 when there is none."""
        with self._lock:
            return self._line.oldest_age_ns()

    @property
    def depth(self) -> int:
        """Items that wait to be taken."""
        return len(self._line)

    @property
    def blocked_since_ns(self) -> int | None:
        """Monotonic time at which the producer that waits longest began to; None when none waits."""
        with self._lock:
            return self._line.blocked_since_ns


def _check_burst(max_items: int) -> None:
    if max_items < 1:
        raise UsageError("a burst has at least one item", found=max_items, expected="max_items >= 1")
