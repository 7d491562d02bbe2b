"""The bridge between threads and loops: policies, bounds, closing, waiting, figures."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque

import pytest

from gapless.errors import BridgeClosed, BridgeEnded, DeadlinePassed, UsageError, WrongThread
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy

from .patience import PATIENCE_S, CountingLoop, until, until_in_loop


class TestPolicies:
    """What a full bridge does."""

    def test_block_refuses_and_takes_nothing(self) -> None:
        """A full bridge under BLOCK says no, and the item is not counted."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=2)
        assert [bridge.put_nowait(k) for k in range(3)] == [True, True, False]
        assert bridge.metrics().put == 2
        assert bridge.take_nowait() == [0, 1]

    def test_drop_oldest_keeps_the_latest(self) -> None:
        """Six items in a bridge of three leave the last three, and the first three are told."""
        dropped: list[int] = []
        bridge: ThreadBridge[int] = ThreadBridge(
            "b", capacity=3, policy=BackpressurePolicy.DROP_OLDEST, on_drop=dropped.append
        )
        assert all(bridge.put_nowait(k) for k in range(6))
        assert bridge.take_nowait() == [3, 4, 5]
        assert dropped == [0, 1, 2]
        assert bridge.metrics().dropped == 3

    def test_drop_newest_keeps_the_first(self) -> None:
        """Four items in a bridge of two leave the first two; the put of the others says so."""
        dropped: list[int] = []
        bridge: ThreadBridge[int] = ThreadBridge(
            "b", capacity=2, policy=BackpressurePolicy.DROP_NEWEST, on_drop=dropped.append
        )
        assert [bridge.put_nowait(k) for k in range(4)] == [True, True, False, False]
        assert bridge.take_nowait() == [0, 1]
        assert dropped == [2, 3]
        metrics = bridge.metrics()
        assert (metrics.put, metrics.taken, metrics.dropped, metrics.depth) == (4, 2, 2, 0)

    def test_puts_that_may_wait_drop_instead_under_a_dropping_policy(self) -> None:
        """The waiting puts follow the policy: neither waits."""
        oldest: ThreadBridge[int] = ThreadBridge("o", capacity=2, policy=BackpressurePolicy.DROP_OLDEST)
        newest: ThreadBridge[int] = ThreadBridge("n", capacity=2, policy=BackpressurePolicy.DROP_NEWEST)

        async def put() -> list[bool]:
            await oldest.put_many(range(5))
            await newest.put_many(range(5))
            return [await oldest.put(5), await newest.put(5)]

        assert asyncio.run(put()) == [True, False]
        assert [oldest.put_blocking(6, 1.0), newest.put_blocking(6, 1.0)] == [True, False]
        assert oldest.take_nowait() == [5, 6]
        assert newest.take_nowait() == [0, 1]

    def test_bytes_bound_the_bridge_too(self) -> None:
        """Items of 4 bytes do not fit beside each other in 6; one of 9 goes in alone rather than never."""
        bridge: ThreadBridge[bytes] = ThreadBridge("b", capacity=9, size=len, max_bytes=6)
        assert [bridge.put_nowait(b"1234"), bridge.put_nowait(b"12"), bridge.put_nowait(b"1")] == [
            True,
            True,
            False,
        ]
        assert bridge.take_nowait(1) == [b"1234"]
        assert bridge.put_nowait(b"1")
        assert bridge.take_nowait() == [b"12", b"1"]
        assert bridge.put_nowait(b"12")
        assert bridge.put_nowait(b"1234")
        assert bridge.take_nowait() == [b"12", b"1234"]
        assert bridge.put_nowait(b"123456789")
        assert not bridge.put_nowait(b"")

    def test_as_many_old_items_go_as_a_large_new_one_needs(self) -> None:
        """Under DROP_OLDEST with a bound in bytes one item can push out several."""
        dropped: list[bytes] = []
        bridge: ThreadBridge[bytes] = ThreadBridge(
            "b",
            capacity=9,
            size=len,
            max_bytes=6,
            policy=BackpressurePolicy.DROP_OLDEST,
            on_drop=dropped.append,
        )
        for item in (b"ab", b"cd", b"e", b"1234"):
            assert bridge.put_nowait(item)
        assert dropped == [b"ab", b"cd"]
        assert bridge.take_nowait() == [b"e", b"1234"]

    def test_on_drop_may_look_at_the_bridge(self) -> None:
        """The callback runs outside of the lock: another thread can use the bridge meanwhile."""
        depths: list[int] = []

        def look(item: int) -> None:
            thread = threading.Thread(target=lambda: depths.append(bridge.metrics().depth), daemon=True)
            thread.start()
            thread.join(PATIENCE_S)

        bridge: ThreadBridge[int] = ThreadBridge(
            "b", capacity=1, policy=BackpressurePolicy.DROP_OLDEST, on_drop=look
        )
        bridge.put_nowait(0)
        bridge.put_nowait(1)
        assert depths == [1]

    @pytest.mark.parametrize(
        ("capacity", "max_bytes", "policy"),
        [
            (0, None, BackpressurePolicy.BLOCK),
            (1, 5, BackpressurePolicy.BLOCK),
            (1, None, BackpressurePolicy.ABORT_RUN),
        ],
    )
    def test_a_bridge_that_means_nothing_is_refused(
        self, capacity: int, max_bytes: int | None, policy: BackpressurePolicy
    ) -> None:
        """No room, a bound in bytes of items without a size, or a policy of subscriptions."""
        with pytest.raises(UsageError):
            ThreadBridge[int]("b", capacity=capacity, max_bytes=max_bytes, policy=policy)

    def test_an_empty_burst_cannot_be_asked_for(self) -> None:
        """An empty burst means the end, so none is given for another reason."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
        with pytest.raises(UsageError):
            bridge.take_nowait(0)
        with pytest.raises(UsageError):
            asyncio.run(bridge.get_burst(0))


class TestClosing:
    """The end of a bridge."""

    def test_pending_items_come_then_the_end_for_ever(self) -> None:
        """What was put before the close is delivered; after it every get says the same."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=5)
            await bridge.put_many([1, 2, 3])
            bridge.close()
            bridge.close()
            assert bridge.closed
            with pytest.raises(BridgeClosed):
                bridge.put_nowait(4)
            with pytest.raises(BridgeClosed):
                await bridge.put(4)
            assert await bridge.get() == 1
            assert [item async for item in bridge] == [2, 3]
            for _ in range(3):
                with pytest.raises(BridgeEnded):
                    await bridge.get()
                assert await bridge.get_burst() == []
            assert bridge.take_nowait() == []
            assert bridge.metrics().put == bridge.metrics().taken == 3

        asyncio.run(run())

    def test_a_reader_that_waits_gets_the_end(self) -> None:
        """A close from another thread ends a get that waits, on a loop and in a thread."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=5)
            reader = asyncio.create_task(bridge.get_burst())
            await asyncio.sleep(0)
            threading.Thread(target=bridge.close, daemon=True).start()
            assert await asyncio.wait_for(reader, PATIENCE_S) == []

        asyncio.run(run())
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=5)
        threading.Thread(target=bridge.close, daemon=True).start()
        assert bridge.take_blocking(9, PATIENCE_S) == []

    def test_producers_that_wait_are_told_and_their_items_are_not_in(self) -> None:
        """Both kinds of producers get BridgeClosed; only what was in before is delivered."""

        async def run() -> None:
            bridge: ThreadBridge[str] = ThreadBridge("b", capacity=1)
            bridge.put_nowait("in")
            rest = deque(["x", "y"])
            errors: list[str] = []

            def put_from_a_thread() -> None:
                try:
                    bridge.put_blocking("z", PATIENCE_S)
                except BridgeClosed:
                    errors.append("thread")

            thread = threading.Thread(target=put_from_a_thread, daemon=True)
            thread.start()
            task = asyncio.create_task(bridge.put_many(rest))
            await until_in_loop(lambda: len(bridge._room.waiting) == 2)
            bridge.close()
            with pytest.raises(BridgeClosed):
                await asyncio.wait_for(task, PATIENCE_S)
            thread.join(PATIENCE_S)
            assert errors == ["thread"]
            assert list(rest) == ["x", "y"]
            assert [item async for item in bridge] == ["in"]
            assert bridge.blocked_since_ns is None

        asyncio.run(run())


class TestWaiting:
    """Producers without room and consumers without items."""

    def test_blocked_since_is_known_exactly_while_a_producer_waits(self) -> None:
        """It is None before and after; the time waited adds up."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
            await bridge.put(0)
            assert bridge.metrics().blocked_since_ns is None
            task = asyncio.create_task(bridge.put(1))
            await asyncio.sleep(0)
            during = bridge.metrics()
            assert during.blocked_since_ns is not None
            assert bridge.metrics().blocked_ns >= during.blocked_ns
            assert bridge.take_nowait() == [0]
            await task
            after = bridge.metrics()
            assert after.blocked_since_ns is None
            assert after.blocked_ns > 0
            assert (after.put, after.taken, after.dropped, after.depth) == (2, 1, 0, 1)

        asyncio.run(run())

    def test_a_producer_that_gets_on_has_not_waited_since_its_beginning(self) -> None:
        """A long burst that moves, if slowly, is not a producer that is stuck."""
        now_ns = [100]

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1, clock_ns=lambda: now_ns[0])
            task = asyncio.create_task(bridge.put_many(range(4)))
            for taken in range(3):
                await asyncio.sleep(0.001)
                now_ns[0] += 50
                assert bridge.blocked_since_ns == 100 + 50 * taken
                assert bridge.take_nowait() == [taken]
                await until_in_loop(lambda: bridge.depth == 1)
            await task
            assert bridge.metrics().blocked_ns == 150

        asyncio.run(run())

    def test_the_producer_that_waits_longest_counts(self) -> None:
        """Of two that wait the first one's beginning is told, until it is in."""
        now_ns = [1]

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1, clock_ns=lambda: now_ns[0])
            bridge.put_nowait(0)
            tasks = []
            for start_ns in (10, 20):
                now_ns[0] = start_ns
                tasks.append(asyncio.create_task(bridge.put(start_ns)))
                await asyncio.sleep(0)
            assert bridge.blocked_since_ns == 10
            assert bridge.take_nowait() == [0]
            await tasks[0]
            assert bridge.blocked_since_ns == 20
            assert bridge.take_nowait() == [10]
            await tasks[1]
            assert bridge.take_nowait() == [20]

        asyncio.run(run())

    def test_a_cancelled_put_is_not_in(self) -> None:
        """Cancelled while it waits, and cancelled when it was just woken: the item never appears."""

        async def run() -> None:
            bridge: ThreadBridge[str] = ThreadBridge("b", capacity=1)
            bridge.put_nowait("first")
            waiting = asyncio.create_task(bridge.put("lost"))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            woken = asyncio.create_task(bridge.put("lost too"))
            await asyncio.sleep(0)
            assert bridge.take_nowait() == ["first"]  # there is room, and the task is told
            woken.cancel()
            with pytest.raises(asyncio.CancelledError):
                await woken
            assert bridge.metrics().blocked_since_ns is None
            assert bridge.metrics().put == 1
            assert not bridge._room.waiting
            assert bridge.put_nowait("next")

        asyncio.run(run())

    def test_a_cancelled_burst_leaves_in_the_deque_what_was_not_put(self) -> None:
        """The caller can tell which items are in."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=3)
            rest = deque(range(5))
            task = asyncio.create_task(bridge.put_many(rest))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert list(rest) == [3, 4]
            assert bridge.take_nowait() == [0, 1, 2]

        asyncio.run(run())

    def test_a_put_without_room_reaches_its_deadline(self) -> None:
        """On a loop and in a thread; nothing is left behind."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
        bridge.put_nowait(0)
        with pytest.raises(DeadlinePassed):
            asyncio.run(bridge.put(1, timeout_s=0.01))
        with pytest.raises(DeadlinePassed):
            bridge.put_blocking(1, 0.01)
        assert bridge.metrics().blocked_since_ns is None
        assert not bridge._room.waiting
        assert bridge.take_nowait() == [0]

    def test_a_thread_without_items_reaches_its_deadline(self) -> None:
        """A blocking take ends, and the bridge works on."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
        with pytest.raises(DeadlinePassed):
            bridge.take_blocking(1, 0.01)
        bridge.put_nowait(1)
        assert bridge.take_blocking(1, PATIENCE_S) == [1]

    def test_a_cancelled_get_has_taken_nothing(self) -> None:
        """Cancelled while it waits, and cancelled when an item just came."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
            for item in range(2):
                reader = asyncio.create_task(bridge.get())
                await asyncio.sleep(0)
                if item:
                    bridge.put_nowait(item)
                reader.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reader
            assert await bridge.get() == 1

        asyncio.run(run())

    def test_a_second_reader_is_refused(self) -> None:
        """Two tasks that wait for the same bridge would split its items."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
            reader = asyncio.create_task(bridge.get())
            await asyncio.sleep(0)
            with pytest.raises(UsageError):
                await bridge.get()
            bridge.put_nowait(7)
            assert await reader == 7

        asyncio.run(run())

    def test_a_reader_that_always_finds_items_lets_others_run(self) -> None:
        """Another task of the loop runs although the bridge is never empty."""

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=5_000)
            await bridge.put_many(range(5_000))
            turns: list[int] = []

            async def other() -> None:
                while not bridge.closed:
                    turns.append(bridge.depth)
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            while bridge.depth:
                await bridge.get()
            bridge.close()
            await task
            assert any(0 < depth < 5_000 for depth in turns)

        asyncio.run(run())


class TestLoops:
    """Wake-ups, and loops that are not there any more."""

    def test_a_burst_wakes_the_consumer_once(self) -> None:
        """Ten thousand puts before the consumer runs cost one wake-up."""
        loop = CountingLoop()

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=10_000)
            reader = asyncio.create_task(bridge.get_burst(10_000))
            await asyncio.sleep(0)

            def put() -> None:
                for k in range(10_000):
                    assert bridge.put_nowait(k)

            thread = threading.Thread(target=put, daemon=True)
            thread.start()
            thread.join(PATIENCE_S)
            assert await reader == list(range(10_000))
            assert loop.wakes == 1

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    def test_a_burst_taken_wakes_all_producers_of_a_loop_once(self) -> None:
        """Three tasks that wait for room are woken by one call."""
        loop = CountingLoop()

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=3)
            await bridge.put_many(range(3))
            tasks = [asyncio.create_task(bridge.put(k)) for k in (3, 4, 5)]
            await asyncio.sleep(0)
            assert bridge.take_nowait() == [0, 1, 2]
            await asyncio.gather(*tasks)
            assert loop.wakes == 1
            assert bridge.take_nowait() == [3, 4, 5]

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    def test_nobody_is_woken_who_does_not_wait(self) -> None:
        """A consumer that is busy finds the items when it comes back, without a call."""
        loop = CountingLoop()

        async def run() -> None:
            bridge: ThreadBridge[int] = ThreadBridge("b", capacity=9)
            bridge.attach(loop)
            for k in range(9):
                bridge.put_nowait(k)
            assert await bridge.get_burst() == list(range(9))
            assert loop.wakes == 0

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    def test_a_second_loop_cannot_read(self) -> None:
        """The consumer's loop is the one that read or was attached first, while it lives."""
        other = asyncio.new_event_loop()
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1)
        bridge.attach(other)
        bridge.put_nowait(1)
        with pytest.raises(WrongThread):
            asyncio.run(bridge.get())
        other.close()
        assert asyncio.run(bridge.get()) == 1

    def test_a_consumer_whose_loop_died_costs_no_item(self) -> None:
        """Producers are not disturbed, the loss is on record, and the items can still be taken."""
        dead = asyncio.new_event_loop()
        dead.set_exception_handler(lambda loop, context: None)
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=4)
        reader = dead.create_task(bridge.get())
        dead.run_until_complete(asyncio.sleep(0))
        dead.close()
        assert bridge.put_nowait(1)
        assert bridge.put_nowait(2)
        assert bridge.lost_consumers == 1
        del reader
        gc.collect()
        assert bridge.take_nowait(1) == [1]
        assert asyncio.run(bridge.get()) == 2

    def test_a_new_loop_takes_over_from_one_that_died_waiting(self) -> None:
        """The reader that was left waiting on a closed loop does not keep the next one out."""
        dead = asyncio.new_event_loop()
        dead.set_exception_handler(lambda loop, context: None)
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=4)
        reader = dead.create_task(bridge.get())
        dead.run_until_complete(asyncio.sleep(0))
        dead.close()

        async def read() -> int:
            task = asyncio.create_task(bridge.get())
            await asyncio.sleep(0)
            bridge.put_nowait(3)
            return await task

        assert asyncio.run(read()) == 3
        del reader
        gc.collect()


class TestFigures:
    """What the metrics say."""

    def test_ages_and_latencies_are_told_by_the_clock(self) -> None:
        """An item put at 100 and taken at 350 waited 250 ns; while it waited it had an age."""
        now_ns = [100]
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=9, clock_ns=lambda: now_ns[0])
        assert bridge.oldest_age_ns() == 0
        bridge.put_nowait(0)
        now_ns[0] = 200
        bridge.put_nowait(1)
        now_ns[0] = 350
        assert bridge.oldest_age_ns() == 250
        bridge.take_nowait(1)
        assert bridge.oldest_age_ns() == 150
        bridge.take_nowait(1)
        metrics = bridge.metrics()
        assert (metrics.latency_p50_ns, metrics.latency_p99_ns) == (150, 250)
        assert metrics.depth_max == 2

    def test_a_dropped_item_has_no_latency(self) -> None:
        """Only the time of items that were taken counts."""
        now_ns = [0]
        bridge: ThreadBridge[int] = ThreadBridge(
            "b", capacity=1, policy=BackpressurePolicy.DROP_OLDEST, clock_ns=lambda: now_ns[0]
        )
        bridge.put_nowait(0)
        now_ns[0] = 1_000
        bridge.put_nowait(1)
        now_ns[0] = 1_010
        assert bridge.oldest_age_ns() == 10
        assert bridge.take_nowait() == [1]
        assert bridge.metrics().latency_p99_ns == 10

    def test_an_age_in_a_deep_bridge_is_never_too_little(self) -> None:
        """With stamps on one item in 64 the age told is the oldest item's or that of one just before it."""
        now_ns = [0]
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1_000, clock_ns=lambda: now_ns[0])
        for k in range(1_000):
            now_ns[0] = k
            bridge.put_nowait(k)
        for k in range(999):
            bridge.take_nowait(1)
            true_age_ns = 999 - (k + 1)
            assert true_age_ns <= bridge.oldest_age_ns() < true_age_ns + 64

    def test_each_burst_has_a_latency(self) -> None:
        """Also of bursts far beyond the sampling distance."""
        now_ns = [0]
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=100_000, clock_ns=lambda: now_ns[0])
        for _ in range(3):
            for k in range(10_000):
                bridge.put_nowait(k)
            now_ns[0] += 1_000
            bridge.take_nowait(10_000)
        assert bridge.metrics().latency_p50_ns == 1_000

    def test_figures_become_json(self) -> None:
        """All of them, by name."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=2)
        bridge.put_nowait(1)
        figures = bridge.metrics().to_json()
        assert figures["put"] == figures["depth"] == figures["depth_max"] == 1
        assert figures["blocked_since_ns"] is None
        assert len(figures) == 9

    def test_reading_in_threads(self) -> None:
        """A plain thread that waits is woken by a put."""
        bridge: ThreadBridge[int] = ThreadBridge("b", capacity=2)
        got: list[list[int]] = []
        thread = threading.Thread(target=lambda: got.append(bridge.take_blocking(9, PATIENCE_S)), daemon=True)
        thread.start()
        until(lambda: bool(bridge._readers.waiting))
        bridge.put_nowait(5)
        thread.join(PATIENCE_S)
        assert got == [[5]]
