"""The queue of one subscription: policies, waiting, aborting, the end."""

from __future__ import annotations

import asyncio

import pytest

from gapless.errors import BridgeClosed, BridgeEnded, UsageError
from gapless.flow.bounded_queue import BoundedQueue
from gapless.flow.policy import BackpressurePolicy

from .patience import PATIENCE_S, until_in_loop


def test_drop_oldest_never_waits() -> None:
    """Six items in a queue of three leave the last three."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q", capacity=3)
        for k in range(6):
            await queue.put(k)
        assert (queue.dropped, queue.depth) == (3, 3)
        assert await queue.get_burst() == [3, 4, 5]

    asyncio.run(run())


def test_block_waits_and_tells_since_when() -> None:
    """The producer is in only when there is room; nothing is dropped."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q", capacity=1, policy=BackpressurePolicy.BLOCK)
        assert queue.put_nowait(0)
        assert not queue.put_nowait(1)
        task = asyncio.create_task(queue.put(1))
        await asyncio.sleep(0)
        assert queue.metrics().blocked_since_ns is not None
        assert await queue.get() == 0
        await task
        assert await queue.get() == 1
        metrics = queue.metrics()
        assert metrics.blocked_since_ns is None
        assert (metrics.put, metrics.taken, metrics.dropped) == (2, 2, 0)
        assert metrics.blocked_ns > 0

    asyncio.run(run())


def test_an_item_put_while_the_reader_waits_wakes_it() -> None:
    """Also when the first reader was cancelled meanwhile: it has taken nothing."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q")
        for item in (None, 1):
            first = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            if item is not None:
                queue.put_nowait(item)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        second = asyncio.create_task(queue.get_burst())
        assert await second == [1]
        third = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        with pytest.raises(UsageError):
            await queue.get()
        queue.put_nowait(2)
        assert await third == 2

    asyncio.run(run())


def test_a_cancelled_put_is_not_in() -> None:
    """Neither while it waits nor when it was just woken; nothing is left behind."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q", capacity=1, policy=BackpressurePolicy.BLOCK)
        queue.put_nowait(0)
        for take in (False, True):
            task = asyncio.create_task(queue.put(1))
            await asyncio.sleep(0)
            if take:
                assert await queue.get() == 0
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not queue._producers
        assert queue.depth == 0
        assert queue.blocked_since_ns is None

    asyncio.run(run())


def test_abort_run_tells_once_and_then_drops() -> None:
    """Two producers that waited too long are freed, the owner is told one reason, later items are dropped."""
    reasons: list[str] = []

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue(
            "slow analyzer",
            capacity=1,
            policy=BackpressurePolicy.ABORT_RUN,
            on_abort=reasons.append,
            abort_after_s=0.01,
        )
        await queue.put(0)
        await asyncio.wait_for(asyncio.gather(queue.put(1), queue.put(2)), PATIENCE_S)
        await queue.put(3)
        assert queue.put_nowait(4)
        assert len(reasons) == 1
        assert "slow analyzer" in reasons[0]
        metrics = queue.metrics()
        assert (metrics.put, metrics.dropped, metrics.depth) == (5, 4, 1)
        assert metrics.blocked_since_ns is None
        assert await queue.get_burst() == [0]

    asyncio.run(run())


def test_an_abort_frees_a_producer_that_could_wait_longer() -> None:
    """Once the run ends nobody waits for the queue any more, however long it was willing to."""
    reasons: list[str] = []

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue(
            "q", capacity=1, policy=BackpressurePolicy.ABORT_RUN, on_abort=reasons.append, abort_after_s=0.01
        )
        await queue.put(0)
        impatient = asyncio.create_task(queue.put(1))
        await asyncio.sleep(0)
        queue._abort_after_s = 100 * PATIENCE_S
        patient = asyncio.create_task(queue.put(2))
        await asyncio.wait_for(asyncio.gather(impatient, patient), PATIENCE_S)
        assert queue.dropped == 2

    asyncio.run(run())


def test_abort_run_does_not_abort_a_reader_that_gets_on() -> None:
    """As long as each single wait ends in time, all items arrive."""
    reasons: list[str] = []

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue(
            "q",
            capacity=1,
            policy=BackpressurePolicy.ABORT_RUN,
            on_abort=reasons.append,
            abort_after_s=PATIENCE_S,
        )

        async def produce() -> None:
            for k in range(200):
                await queue.put(k)
            queue.close()

        task = asyncio.create_task(produce())
        received: list[int] = []
        while burst := await queue.get_burst():
            received.extend(burst)
            await asyncio.sleep(0)
        await task
        assert received == list(range(200))

    asyncio.run(run())
    assert reasons == []


def test_the_end_comes_after_the_items() -> None:
    """A close frees producers and readers; then the same end for ever."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q", capacity=1, policy=BackpressurePolicy.BLOCK)
        reader = asyncio.create_task(queue.get_burst())
        await asyncio.sleep(0)
        queue.put_nowait(0)
        assert await reader == [0]
        queue.put_nowait(1)
        producer = asyncio.create_task(queue.put(2))
        await until_in_loop(lambda: queue.blocked_since_ns is not None)
        queue.close()
        queue.close()
        assert queue.closed
        with pytest.raises(BridgeClosed):
            await producer
        with pytest.raises(BridgeClosed):
            queue.put_nowait(3)
        assert await queue.get() == 1
        for _ in range(2):
            assert await queue.get_burst() == []
            with pytest.raises(BridgeEnded):
                await queue.get()

    asyncio.run(run())


def test_a_reader_that_waits_gets_what_ended_the_queue() -> None:
    """The error is raised each time, after the items."""

    async def run() -> None:
        queue: BoundedQueue[int] = BoundedQueue("q")
        reader = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.close(ZeroDivisionError("x"))
        with pytest.raises(ZeroDivisionError):
            await reader
        with pytest.raises(ZeroDivisionError):
            await queue.get_burst()

    asyncio.run(run())


def test_a_queue_that_means_nothing_is_refused() -> None:
    """DROP_NEWEST is for bridges; ABORT_RUN needs someone to tell and a time; a burst needs an item."""
    with pytest.raises(UsageError):
        BoundedQueue[int]("q", policy=BackpressurePolicy.DROP_NEWEST)
    with pytest.raises(UsageError):
        BoundedQueue[int]("q", policy=BackpressurePolicy.ABORT_RUN)
    with pytest.raises(UsageError):
        BoundedQueue[int](
            "q", policy=BackpressurePolicy.ABORT_RUN, on_abort=lambda reason: None, abort_after_s=0.0
        )
    with pytest.raises(UsageError):
        BoundedQueue[int]("q", capacity=0)
    with pytest.raises(UsageError):
        asyncio.run(BoundedQueue[int]("q").get_burst(0))
