"""Publish and subscribe on one event loop, indexed: publishing touches only the subscribers that listen.

The bus knows nothing of what it carries: two callables tell the channel and the device of an item. Each
subscriber has its own bounded queue and policy, so that one that is slow is its own problem, unless it asked
to be waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypedDict, TypeVar, Unpack

from gapless.errors import BridgeClosed, UsageError, WrongThread
from gapless.flow.bounded_queue import BoundedQueue
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.subscription import Subscription

T = TypeVar("T")

GIVE_WAY_ITEMS = 128

Queues = tuple[BoundedQueue[T], ...]


class QueueOptions(TypedDict, total=False):
    """How a subscription queues: capacity 256, policy DROP_OLDEST and a name made from what it listens to.

    ``abort_after_s`` (5) belongs to the policy ABORT_RUN.
    """

    capacity: int
    policy: BackpressurePolicy
    name: str
    abort_after_s: float


class DataBus(Generic[T]):
    """Delivers items to those who listen to their channel, to their device, to everything or by a predicate.

    It belongs to the loop that first publishes or subscribes; any other gets WrongThread. An item without
    a channel or device (None) reaches only those who do not select by it. ``on_abort`` is called with the
    reason when a subscriber under ABORT_RUN does not keep up.

    ``publish`` and ``publish_burst`` let other tasks run often enough that a subscriber which only reads
    loses nothing of a burst, however small its queue.
    """

    def __init__(
        self,
        *,
        channel_of: Callable[[T], str | None],
        device_of: Callable[[T], str | None],
        on_abort: Callable[[str], None] | None = None,
    ) -> None:
        self._channel_of = channel_of
        self._device_of = device_of
        self._on_abort = on_abort
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_channel: dict[str, Queues[T]] = {}
        self._by_device: dict[str, Queues[T]] = {}
        self._by_predicate: tuple[tuple[Callable[[T], bool], BoundedQueue[T]], ...] = ()
        self._all: Queues[T] = ()
        self._subscriptions: dict[BoundedQueue[T], Subscription[T]] = {}
        self._last: dict[str, T] = {}
        self._give_way_items = GIVE_WAY_ITEMS
        self._delivered_in_a_row = 0
        self._closed = False

    @property
    def subscriptions(self) -> tuple[Subscription[T], ...]:
        """Everyone who listens now, in the order in which they came."""
        return tuple(self._subscriptions.values())

    @property
    def listens_beyond_channels(self) -> bool:
        """Whether anyone listens to items that belong to no channel: by device, by a predicate, or to all."""
        return bool(self._by_device or self._by_predicate or self._all)

    def last_value(self, channel: str) -> T | None:
        """Return the latest item of the channel, None when there was none."""
        return self._last.get(channel)

    def subscribe_channel(self, channel: str, **options: Unpack[QueueOptions]) -> Subscription[T]:
        """Listen to one channel."""
        queue = self._queue(f"channel {channel}", options)
        self._by_channel[channel] = (*self._by_channel.get(channel, ()), queue)
        return self._enter(queue, lambda: _remove(self._by_channel, channel, queue))

    def subscribe_adapter(self, device: str, **options: Unpack[QueueOptions]) -> Subscription[T]:
        """Listen to everything of one device."""
        queue = self._queue(f"device {device}", options)
        self._by_device[device] = (*self._by_device.get(device, ()), queue)
        return self._enter(queue, lambda: _remove(self._by_device, device, queue))

    def subscribe_all(self, **options: Unpack[QueueOptions]) -> Subscription[T]:
        """Listen to everything."""
        queue = self._queue("everything", options)
        self._all = (*self._all, queue)

        def remove() -> None:
            self._all = tuple(other for other in self._all if other is not queue)

        return self._enter(queue, remove)

    def subscribe_where(
        self, predicate: Callable[[T], bool], **options: Unpack[QueueOptions]
    ) -> Subscription[T]:
        """Listen to the items for which the predicate is true; what it raises ends the subscription."""
        queue = self._queue("a predicate", options)
        self._by_predicate = (*self._by_predicate, (predicate, queue))

        def remove() -> None:
            self._by_predicate = tuple(other for other in self._by_predicate if other[1] is not queue)

        return self._enter(queue, remove)

    def _queue(self, selector: str, options: QueueOptions) -> BoundedQueue[T]:
        self._check_usable()
        named: QueueOptions = {"name": selector, **options}
        return BoundedQueue(on_abort=self._on_abort, **named)

    def _enter(self, queue: BoundedQueue[T], remove: Callable[[], None]) -> Subscription[T]:
        def leave() -> None:
            remove()
            self._subscriptions.pop(queue, None)
            self._measure()

        self._subscriptions[queue] = subscription = Subscription(queue, leave)
        self._measure()
        return subscription

    def _measure(self) -> None:
        """Find after how many items the subscriber with the smallest queue must have had a turn."""
        dropping = [q.capacity for q in self._subscriptions if q.policy is BackpressurePolicy.DROP_OLDEST]
        self._give_way_items = min([GIVE_WAY_ITEMS, *dropping])

    async def publish(self, item: T) -> None:
        """Deliver an item to everyone who listens; wait for those who asked to be waited for.

        Cancelled while it waits, the item has reached some subscribers and not others.
        """
        self._check_usable()
        queues = self._route(item)
        if queues:
            await self._deliver(item, queues)

    async def publish_burst(self, items: Iterable[T]) -> None:
        """Deliver items in their order, as ``publish`` does with each."""
        self._check_usable()
        for item in items:
            queues = self._route(item)
            if not queues:
                continue
            if len(queues) == 1 and self._delivered_in_a_row < self._give_way_items:
                queue = queues[0]
                if not queue.closed and queue.put_nowait(item):
                    self._delivered_in_a_row += 1
                    continue
            await self._deliver(item, queues)

    def publish_nowait(self, item: T) -> None:
        """Deliver an item without waiting.

        Raises UsageError, and delivers to nobody, when a subscriber that listens to it is under BLOCK or
        ABORT_RUN: those need ``publish``.
        """
        self._check_usable()
        queues = self._route(item)
        for queue in queues:
            if queue.policy is not BackpressurePolicy.DROP_OLDEST:
                raise UsageError(
                    "a subscriber asks the publisher to wait",
                    found=f"{queue.name!r} under {queue.policy.value}",
                    next_step="use `await bus.publish(item)`",
                )
        for queue in queues:
            if not queue.closed:
                queue.put_nowait(item)

    def _route(self, item: T) -> Sequence[BoundedQueue[T]]:
        """Return the queues of those who listen to the item, and keep it as the last of its channel."""
        channel = self._channel_of(item)
        queues: Queues[T] = ()
        if channel is not None:
            self._last[channel] = item
            queues = self._by_channel.get(channel, ())
        if self._by_device:
            device = self._device_of(item)
            if device is not None:
                queues += self._by_device.get(device, ())
        if self._by_predicate:
            queues += tuple(q for predicate, q in self._by_predicate if self._holds(predicate, q, item))
        return queues + self._all if self._all else queues

    def _holds(self, predicate: Callable[[T], bool], queue: BoundedQueue[T], item: T) -> bool:
        if queue.closed:
            return False
        try:
            return bool(predicate(item))
        except BaseException as error:  # the end of a user's callback: the subscription's reader raises it
            if not isinstance(error, Exception):
                raise
            queue.close(error)
            subscription = self._subscriptions.get(queue)
            if subscription is not None:
                subscription.close()
            return False

    async def _deliver(self, item: T, queues: Sequence[BoundedQueue[T]]) -> None:
        if self._delivered_in_a_row >= self._give_way_items:
            self._delivered_in_a_row = 0
            await asyncio.sleep(0)
        self._delivered_in_a_row += 1
        for queue in queues:
            if not queue.closed and not queue.put_nowait(item):
                await self._wait_for(queue, item)

    async def _wait_for(self, queue: BoundedQueue[T], item: T) -> bool:
        """Return True when the queue has the item, False when its subscriber left instead."""
        try:
            await queue.put(item)
        except BridgeClosed:
            return False
        return True

    def close(self) -> None:
        """Publish nothing more; every subscriber reads what its queue holds and then ends."""
        self._closed = True
        for subscription in self.subscriptions:
            subscription.close()

    def _check_usable(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise self._wrong_thread() from None
        if loop is not self._loop:
            if self._loop is not None:
                raise self._wrong_thread()
            self._loop = loop
        if self._closed:
            raise BridgeClosed("the data bus is closed")

    def _wrong_thread(self) -> WrongThread:
        return WrongThread(
            "a data bus belongs to one event loop",
            next_step="use it in that loop's thread; bring items there by a bridge",
        )


def _remove(table: dict[str, Queues[T]], key: str, queue: BoundedQueue[T]) -> None:
    """Take a queue out of an index; an index has no empty entries."""
    left = tuple(other for other in table.get(key, ()) if other is not queue)
    if left:
        table[key] = left
    else:
        table.pop(key, None)
