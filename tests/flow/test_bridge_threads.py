"""Bridges under real threads and loops: nothing lost, nothing twice, order kept, no wake-up missed."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import BridgeClosed
from gapless.flow.bridge import ThreadBridge
from gapless.flow.metrics import HopMetrics
from gapless.flow.policy import BackpressurePolicy

from .patience import PATIENCE_S, until

Item = tuple[int, int]  # (producer, its count)


def run_threads(*bodies: Callable[[], None]) -> None:
    """Run the bodies at the same time; fail when one raises or does not end."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # noqa: BLE001 - told to the test below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


def assert_in_order(items: list[Item]) -> None:
    """Each producer's items are in the order in which it put them."""
    latest: dict[int, int] = {}
    for producer, count in items:
        assert latest.get(producer, -1) < count
        latest[producer] = count


def assert_balanced(metrics: HopMetrics) -> None:
    """Every item is accounted for."""
    assert metrics.put == metrics.taken + metrics.dropped + metrics.depth


@pytest.mark.parametrize("capacity", [1, 7, 1_000])
def test_all_kinds_of_producers_into_a_loop(capacity: int) -> None:
    """Threads and loops put at once under BLOCK: all items arrive once, in each producer's order."""
    bridge: ThreadBridge[Item] = ThreadBridge("b", capacity=capacity)
    each = 400
    running = 4
    lock = threading.Lock()

    def one_ended() -> None:
        nonlocal running
        with lock:
            running -= 1
            if running == 0:
                bridge.close()

    def thread_producer(producer: int) -> None:
        for k in range(each):
            assert bridge.put_blocking((producer, k), PATIENCE_S)
        one_ended()

    async def single(producer: int) -> None:
        for k in range(each):
            assert await bridge.put((producer, k), PATIENCE_S)

    async def bursts(producer: int) -> None:
        for k in range(0, each, 40):
            await bridge.put_many(((producer, k + j) for j in range(40)), PATIENCE_S)

    async def loop_producers() -> None:
        await asyncio.gather(single(2), bursts(3))
        one_ended()
        one_ended()

    received: list[Item] = []

    async def consume() -> None:
        while burst := await bridge.get_burst(64):
            received.extend(burst)

    run_threads(
        lambda: thread_producer(0),
        lambda: thread_producer(1),
        lambda: asyncio.run(loop_producers()),
        lambda: asyncio.run(consume()),
    )
    assert len(received) == 4 * each
    assert_in_order(received)
    metrics = bridge.metrics()
    assert (metrics.put, metrics.taken, metrics.dropped) == (4 * each, 4 * each, 0)
    assert metrics.blocked_since_ns is None
    assert metrics.depth_max <= capacity


@pytest.mark.parametrize("policy", [BackpressurePolicy.DROP_OLDEST, BackpressurePolicy.DROP_NEWEST])
def test_every_item_is_received_or_told_as_dropped(policy: BackpressurePolicy) -> None:
    """Two fast threads and a slow loop: received and dropped together are exactly what was put."""
    dropped: list[Item] = []
    bridge: ThreadBridge[Item] = ThreadBridge("b", capacity=16, policy=policy, on_drop=dropped.append)
    each = 3_000
    received: list[Item] = []
    snapshots: list[HopMetrics] = []

    def produce(producer: int) -> None:
        for k in range(each):
            bridge.put_nowait((producer, k))

    def produce_both() -> None:
        run_threads(lambda: produce(0), lambda: produce(1))
        bridge.close()

    async def consume() -> None:
        while burst := await bridge.get_burst(5):
            received.extend(burst)
            snapshots.append(bridge.metrics())
            await asyncio.sleep(0)

    run_threads(produce_both, lambda: asyncio.run(consume()))
    assert sorted(received + dropped) == [(p, k) for p in (0, 1) for k in range(each)]
    assert_in_order(received)
    for metrics in [*snapshots, bridge.metrics()]:
        assert_balanced(metrics)
    assert bridge.metrics().dropped == len(dropped)


@pytest.mark.parametrize("seed", range(60))
def test_no_wake_up_is_missed(seed: int) -> None:
    """Short runs with random pauses on both sides always come to their end."""
    chance = random.Random(seed)
    bridge: ThreadBridge[int] = ThreadBridge("b", capacity=chance.choice([1, 2, 5]))
    count = chance.randrange(1, 40)
    pauses = [chance.choice([0, 0, 0, 1e-5, 3e-4]) for _ in range(2 * count)]
    received: list[int] = []

    def produce() -> None:
        for k in range(count):
            time.sleep(pauses[k])
            bridge.put_blocking(k, PATIENCE_S)
        bridge.close()

    async def consume() -> None:
        async for item in bridge:
            received.append(item)
            await asyncio.sleep(pauses[count + item])

    def consume_in_thread() -> None:
        while burst := bridge.take_blocking(3, PATIENCE_S):
            received.extend(burst)

    run_threads(produce, consume_in_thread if seed % 2 else lambda: asyncio.run(consume()))
    assert received == list(range(count))


@pytest.mark.parametrize("seed", range(20))
def test_a_close_at_any_moment_loses_no_accepted_item(seed: int) -> None:
    """What a put accepted is received; what it refused because of the close is not."""
    chance = random.Random(seed)
    bridge: ThreadBridge[Item] = ThreadBridge("b", capacity=3)
    accepted: list[Item] = []
    received: list[Item] = []

    def produce(producer: int) -> None:
        for k in range(100_000):
            try:
                bridge.put_blocking((producer, k), PATIENCE_S)
            except BridgeClosed:
                return
            accepted.append((producer, k))

    async def produce_in_loop() -> None:
        for k in range(100_000):
            try:
                await bridge.put((2, k))
            except BridgeClosed:
                return
            accepted.append((2, k))

    def close() -> None:
        until(lambda: len(received) > chance.randrange(1, 50))
        bridge.close()

    async def consume() -> None:
        while burst := await bridge.get_burst(2):
            received.extend(burst)

    run_threads(
        lambda: produce(0),
        lambda: produce(1),
        lambda: asyncio.run(produce_in_loop()),
        close,
        lambda: asyncio.run(consume()),
    )
    assert sorted(received) == sorted(accepted)
    assert_balanced(bridge.metrics())
    assert bridge.metrics().depth == 0


@pytest.mark.parametrize("seed", range(10))
def test_puts_cancelled_at_any_moment_are_in_or_not(seed: int) -> None:
    """A cancelled put's item is never received, every other one is, exactly once."""
    chance = random.Random(seed)
    bridge: ThreadBridge[int] = ThreadBridge("b", capacity=2)
    accepted: list[int] = []
    received: list[int] = []

    async def produce() -> None:
        for k in range(150):
            task = asyncio.create_task(bridge.put(k))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                task.cancel()
            try:
                await task
                accepted.append(k)
            except asyncio.CancelledError:
                assert task.cancelled()
        bridge.close()

    async def consume() -> None:
        while burst := await bridge.get_burst(1):
            received.extend(burst)
            time.sleep(1e-5)

    run_threads(lambda: asyncio.run(produce()), lambda: asyncio.run(consume()))
    assert received == accepted
    assert bridge.metrics().put == len(accepted)
    assert bridge.metrics().blocked_since_ns is None


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(
        [BackpressurePolicy.BLOCK, BackpressurePolicy.DROP_OLDEST, BackpressurePolicy.DROP_NEWEST]
    ),
    capacity=st.integers(1, 6),
    max_bytes=st.none() | st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from(["put", "take"]), st.integers(1, 8)), max_size=60),
)
def test_a_bridge_does_what_a_list_would(
    policy: BackpressurePolicy, capacity: int, max_bytes: int | None, steps: list[tuple[str, int]]
) -> None:
    """Puts and takes in any order, measured in items and bytes, agree with a plain list."""
    told: list[tuple[int, int]] = []
    bridge: ThreadBridge[tuple[int, int]] = ThreadBridge(
        "b",
        capacity=capacity,
        policy=policy,
        size=None if max_bytes is None else lambda item: item[1],
        max_bytes=max_bytes,
        on_drop=told.append,
    )
    model: list[tuple[int, int]] = []
    dropped: list[tuple[int, int]] = []
    taken = 0

    def fits(size_bytes: int) -> bool:
        if len(model) >= capacity:
            return False
        return max_bytes is None or not model or sum(s for _, s in model) + size_bytes <= max_bytes

    for number, (step, amount) in enumerate(steps):
        if step == "take":
            expected, model = model[:amount], model[amount:]
            assert bridge.take_nowait(amount) == expected
            taken += len(expected)
        else:
            item = (number, amount)
            while policy is BackpressurePolicy.DROP_OLDEST and not fits(amount):
                dropped.append(model.pop(0))
            is_in = fits(amount)
            if is_in:
                model.append(item)
            elif policy is BackpressurePolicy.DROP_NEWEST:
                dropped.append(item)
            assert bridge.put_nowait(item) is is_in
        metrics = bridge.metrics()
        assert_balanced(metrics)
        assert (metrics.taken, metrics.dropped, metrics.depth) == (taken, len(dropped), len(model))
    assert told == dropped
    assert bridge.take_nowait() == model
