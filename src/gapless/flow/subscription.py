"""What a subscriber of a bus holds: its own bounded queue, read as an async iterator, closed to leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TypeVar

from gapless.flow.bounded_queue import QUEUE_ITEMS, BoundedQueue
from gapless.flow.metrics import HopMetrics
from gapless.flow.policy import BackpressurePolicy

T = TypeVar("T")


class Subscription(AsyncIterator[T]):
    """One reader of a bus. Iterating ends when it or the bus is closed and its queue is empty.

    A selector that raised ends it with that error, which its reader gets. Use it as a context manager,
    or call ``close``; leaving frees a publisher that waits for it. All of it belongs to the bus's loop.
    """

    def __init__(self, queue: BoundedQueue[T], leave: Callable[[], None]) -> None:
        self._queue = queue
        self._leave = leave

    @property
    def name(self) -> str:
        """The name it was given, else what it listens to."""
        return self._queue.name

    @property
    def policy(self) -> BackpressurePolicy:
        """What happens to an item that its queue has no room for."""
        return self._queue.policy

    @property
    def capacity(self) -> int:
        """Items that its queue holds."""
        return self._queue.capacity

    @property
    def closed(self) -> bool:
        """True once nothing more is delivered to it."""
        return self._queue.closed

    @property
    def dropped(self) -> int:
        """Items given up because it did not keep up."""
        return self._queue.dropped

    @property
    def depth(self) -> int:
        """Items that wait for it."""
        return self._queue.depth

    @property
    def blocked_since_ns(self) -> int | None:
        """Monotonic time since which a publisher waits for it; None when none does."""
        return self._queue.blocked_since_ns

    def metrics(self) -> HopMetrics:
        """Return the figures of its queue."""
        return self._queue.metrics()

    async def get(self) -> T:
        """Return the next item. Raises BridgeEnded, or the error that ended it."""
        return await self._queue.get()

    async def get_burst(self, max_items: int = QUEUE_ITEMS) -> list[T]:
        """Return the next items, at least one; none, for ever, after the end. Raises what ended it."""
        return await self._queue.get_burst(max_items)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        burst = await self._queue.get_burst(1)
        if not burst:
            raise StopAsyncIteration
        return burst[0]

    def close(self) -> None:
        """Leave the bus; what is in the queue can still be read."""
        self._leave()
        self._queue.close()

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
