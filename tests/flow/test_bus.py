"""The bus: who gets what, at whose cost, and what one subscriber can do to others."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import gapless.flow.bus
from gapless.errors import BridgeClosed, BridgeEnded, UsageError, WrongThread
from gapless.flow.bus import DataBus
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.subscription import Subscription

from .patience import PATIENCE_S, until_in_loop


@dataclass(frozen=True)
class Sample:
    """An item of the bus in these tests."""

    device: str | None
    channel: str | None
    value: int = 0


def new_bus(on_abort: Callable[[str], None] | None = None) -> DataBus[Sample]:
    """Return a bus for samples."""
    return DataBus(channel_of=lambda s: s.channel, device_of=lambda s: s.device, on_abort=on_abort)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the body of a test on a loop."""
    asyncio.run(test())


async def all_of(subscription: Subscription[Sample]) -> list[int]:
    """Read to the end."""
    return [sample.value async for sample in subscription]


def test_each_subscriber_gets_what_it_selects() -> None:
    """By channel, by device, everything and by a predicate; in order; items without a channel as well."""

    async def body() -> None:
        bus = new_bus()
        by_channel = bus.subscribe_channel("a.x")
        by_device = bus.subscribe_adapter("a")
        everything = bus.subscribe_all()
        large = bus.subscribe_where(lambda sample: sample.value >= 3)
        items = [
            Sample("a", "a.x", 1),
            Sample("a", "a.y", 2),
            Sample("b", "b.x", 3),
            Sample("a", None, 4),
            Sample(None, None, 5),
        ]
        await bus.publish(items[0])
        bus.publish_nowait(items[1])
        await bus.publish_burst(items[2:])
        bus.close()
        assert await all_of(by_channel) == [1]
        assert await all_of(by_device) == [1, 2, 4]
        assert await all_of(everything) == [1, 2, 3, 4, 5]
        assert await all_of(large) == [3, 4, 5]
        assert (everything.name, by_channel.name, by_channel.capacity) == ("everything", "channel a.x", 256)

    run(body)


def test_the_last_value_is_kept_without_subscribers() -> None:
    """Of each channel; None where nothing was published."""

    async def body() -> None:
        bus = new_bus()
        await bus.publish_burst([Sample("a", "x", k) for k in range(3)])
        await bus.publish(Sample("a", "y", 7))
        last = bus.last_value("x")
        assert last is not None
        assert last.value == 2
        assert bus.last_value("z") is None

    run(body)


def calls_while(bus: DataBus[Sample], publish: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Return how many functions of the bus run while something is published without suspending.

    Those of other modules do not count: a garbage collection may run any finalizer meanwhile.
    """
    calls = 0
    folder = str(Path(gapless.flow.bus.__file__).parent)

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(folder)

    coroutine = publish()
    sys.setprofile(count)
    try:
        with pytest.raises(StopIteration):
            coroutine.send(None)
    finally:
        sys.setprofile(None)
    return calls


def test_subscribers_of_other_channels_cost_nothing() -> None:
    """A thousand publications make the same calls with a hundred of them as with none."""

    async def body() -> None:
        bus = new_bus()
        items = [Sample("a", "a.x", k) for k in range(1_000)]

        async def publish() -> None:
            for item in items:
                await bus.publish(item)

        with bus.subscribe_channel("a.x", capacity=5_000, policy=BackpressurePolicy.BLOCK) as reader:
            bus._give_way_items = 10_000  # nothing suspends, so that only the publisher's calls are counted
            alone = calls_while(bus, publish)
            others = [
                bus.subscribe_channel(f"other.{k}", policy=BackpressurePolicy.BLOCK) for k in range(100)
            ]
            bus._give_way_items = 10_000
            assert calls_while(bus, publish) == alone
            assert alone >= 1_000
            assert reader.depth == 2_000
            assert all(other.depth == 0 for other in others)
            assert all(other.metrics().put == 0 for other in others)

    run(body)


@pytest.mark.parametrize("capacity", [1, 5, 256])
@pytest.mark.parametrize("burst", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_a_subscriber_that_only_reads_loses_nothing_of_a_burst(
    capacity: int, burst: bool, alone: bool
) -> None:
    """The publisher lets it run often enough, however small its queue is."""

    async def body() -> None:
        bus = new_bus()
        subscriptions = [bus.subscribe_channel("x", capacity=capacity)]
        if not alone:
            subscriptions.append(bus.subscribe_all(capacity=3))
        readers = [asyncio.create_task(all_of(s)) for s in subscriptions]
        await asyncio.sleep(0)
        items = [Sample("a", "x", k) for k in range(2_000)]
        if burst:
            await bus.publish_burst(items)
        else:
            for item in items:
                await bus.publish(item)
        bus.close()
        for received in await asyncio.gather(*readers):
            assert received == list(range(2_000))
        assert [s.dropped for s in subscriptions] == [0] * len(subscriptions)

    run(body)


def test_a_slow_subscriber_loses_its_own_items_only() -> None:
    """Under DROP_OLDEST the slow one keeps the latest, and nobody else notices."""

    async def body() -> None:
        bus = new_bus()
        slow = bus.subscribe_channel("x", capacity=4)
        quick = bus.subscribe_channel("x", capacity=4)
        reader = asyncio.create_task(all_of(quick))
        await asyncio.sleep(0)
        await bus.publish_burst([Sample("a", "x", k) for k in range(50)])
        bus.close()
        assert await all_of(slow) == [46, 47, 48, 49]
        assert slow.dropped == 46
        assert await reader == list(range(50))

    run(body)


def test_a_block_subscriber_is_waited_for() -> None:
    """The publisher goes on when it takes an item; meanwhile it can be seen who is waited for."""

    async def body() -> None:
        bus = new_bus()
        subscription = bus.subscribe_channel("x", capacity=2, policy=BackpressurePolicy.BLOCK, name="writer")
        publisher = asyncio.create_task(bus.publish_burst([Sample("a", "x", k) for k in range(5)]))
        await until_in_loop(lambda: subscription.blocked_since_ns is not None)
        assert [s.name for s in bus.subscriptions if s.blocked_since_ns is not None] == ["writer"]
        received = [(await subscription.get()).value for _ in range(5)]
        await publisher
        assert received == [0, 1, 2, 3, 4]
        assert subscription.metrics().dropped == 0
        assert subscription.blocked_since_ns is None

    run(body)


def test_a_block_subscriber_that_leaves_frees_the_publisher() -> None:
    """The others get every item, also the one that was waited with."""

    async def body() -> None:
        bus = new_bus()
        stuck = bus.subscribe_channel("x", capacity=1, policy=BackpressurePolicy.BLOCK)
        other = bus.subscribe_all()
        publisher = asyncio.create_task(bus.publish_burst([Sample("a", "x", k) for k in range(4)]))
        await until_in_loop(lambda: stuck.blocked_since_ns is not None)
        stuck.close()
        stuck.close()
        await asyncio.wait_for(publisher, PATIENCE_S)
        assert bus.subscriptions == (other,)
        bus.close()
        assert await all_of(other) == [0, 1, 2, 3]
        assert await all_of(stuck) == [0]
        assert stuck.closed

    run(body)


def test_one_that_leaves_while_another_is_waited_for_gets_no_more() -> None:
    """The item that was on its way to both reaches the one that stayed."""

    async def body() -> None:
        bus = new_bus()
        stuck = bus.subscribe_channel("x", capacity=1, policy=BackpressurePolicy.BLOCK)
        leaving = bus.subscribe_all()
        publisher = asyncio.create_task(bus.publish_burst([Sample("a", "x", k) for k in range(2)]))
        await until_in_loop(lambda: stuck.blocked_since_ns is not None)
        leaving.close()
        assert [(await stuck.get()).value for _ in range(2)] == [0, 1]
        await publisher
        assert await all_of(leaving) == [0]

    run(body)


def test_a_predicate_may_end_other_subscriptions() -> None:
    """One that ends itself and another one is obeyed at once, also by a publisher that cannot wait."""

    async def body() -> None:
        bus = new_bus()

        def leave(sample: Sample) -> bool:
            for subscription in subscriptions:
                subscription.close()
            return True

        subscriptions = [bus.subscribe_channel("x"), bus.subscribe_where(leave), bus.subscribe_where(leave)]
        bus.publish_nowait(Sample("a", "x", 1))
        assert bus.subscriptions == ()
        assert [await all_of(subscription) for subscription in subscriptions] == [[], [], []]

    run(body)


def test_a_subscriber_that_must_keep_up_and_does_not_ends_the_run() -> None:
    """The owner of the bus is told who it was, once, and the publisher goes on."""
    reasons: list[str] = []

    async def body() -> None:
        bus = new_bus(on_abort=reasons.append)
        bus.subscribe_channel(
            "x", capacity=1, policy=BackpressurePolicy.ABORT_RUN, name="interlock", abort_after_s=0.01
        )
        items = [Sample("a", "x", k) for k in range(5)]
        await asyncio.wait_for(bus.publish_burst(items), PATIENCE_S)

    run(body)
    assert len(reasons) == 1
    assert "interlock" in reasons[0]


def test_abort_run_without_anyone_to_tell_is_refused() -> None:
    """A bus without on_abort cannot end a run; a refused subscription leaves no trace."""

    async def body() -> None:
        bus = new_bus()
        with pytest.raises(UsageError):
            bus.subscribe_all(policy=BackpressurePolicy.ABORT_RUN)
        with pytest.raises(UsageError):
            bus.subscribe_channel("x", policy=BackpressurePolicy.DROP_NEWEST)
        assert bus.subscriptions == ()

    run(body)


def test_publishing_without_waiting_refuses_those_who_ask_for_it() -> None:
    """UsageError, and nobody got the item; other channels are not concerned."""

    async def body() -> None:
        bus = new_bus()
        everything = bus.subscribe_all()
        bus.subscribe_channel("x", policy=BackpressurePolicy.BLOCK)
        with pytest.raises(UsageError):
            bus.publish_nowait(Sample("a", "x", 1))
        assert everything.depth == 0
        bus.publish_nowait(Sample("a", "y", 2))
        assert (await everything.get()).value == 2

    run(body)


def test_a_predicate_that_raises_ends_its_subscription_only() -> None:
    """Its reader gets what came before, then the error; others go on and it is asked no more."""

    async def body() -> None:
        bus = new_bus()
        asked: list[int] = []

        def predicate(sample: Sample) -> bool:
            asked.append(sample.value)
            return 10 // (2 - sample.value) > 0

        broken = bus.subscribe_where(predicate)
        other = bus.subscribe_where(lambda sample: True)
        await bus.publish_burst([Sample("a", "x", k) for k in range(5)])
        assert asked == [0, 1, 2]
        assert bus.subscriptions == (other,)
        assert [(await broken.get()).value for _ in range(2)] == [0, 1]
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await broken.get()
        bus.close()
        assert await all_of(other) == [0, 1, 2, 3, 4]

    run(body)


def test_a_subscription_ends_with_its_context() -> None:
    """Nothing is delivered after it; what was is still there, then the end."""

    async def body() -> None:
        bus = new_bus()
        with bus.subscribe_adapter("a") as subscription:
            await bus.publish(Sample("a", "x", 1))
        await bus.publish(Sample("a", "x", 2))
        assert bus.subscriptions == ()
        assert [s.value for s in await subscription.get_burst()] == [1]
        assert await subscription.get_burst() == []
        with pytest.raises(BridgeEnded):
            await subscription.get()

    run(body)


def test_subscribers_may_come_and_go_while_others_publish() -> None:
    """Each gets an unbroken run of items from when it came to when it left."""

    async def body() -> None:
        bus = new_bus()
        done = False

        async def come_and_go() -> None:
            while not done:
                with bus.subscribe_channel("x") as subscription:
                    values = [(await subscription.get()).value for _ in range(7)]
                assert values == list(range(values[0], values[0] + 7))
                await asyncio.sleep(0)

        visitors = [asyncio.create_task(come_and_go()) for _ in range(5)]
        value = 0
        for _ in range(300):
            await bus.publish(Sample("a", "x", value))
            value += 1
            await asyncio.sleep(0)
        done = True
        while not all(visitor.done() for visitor in visitors):
            await bus.publish(Sample("a", "x", value))
            value += 1
            await asyncio.sleep(0)
        await asyncio.gather(*visitors)
        assert bus.subscriptions == ()
        assert not bus._by_channel

    run(body)


def test_a_bus_belongs_to_one_loop() -> None:
    """Another thread, with a loop or without, is told to use a bridge."""

    async def body() -> None:
        bus = new_bus()
        subscription = bus.subscribe_all()
        errors: list[type[BaseException]] = []

        def publish_elsewhere() -> None:
            for attempt in (
                lambda: asyncio.run(bus.publish(Sample("a", "x"))),
                lambda: asyncio.run(bus.publish_burst([Sample("a", "x")])),
                lambda: bus.publish_nowait(Sample("a", "x")),
                bus.subscribe_all,
            ):
                try:
                    attempt()
                except WrongThread as error:
                    errors.append(type(error))

        thread = threading.Thread(target=publish_elsewhere, daemon=True)
        thread.start()
        thread.join(PATIENCE_S)
        assert errors == [WrongThread] * 4
        assert subscription.depth == 0

    run(body)


def test_a_closed_bus_takes_nothing() -> None:
    """Neither items nor subscribers."""

    async def body() -> None:
        bus = new_bus()
        bus.close()
        with pytest.raises(BridgeClosed):
            await bus.publish(Sample("a", "x"))
        with pytest.raises(BridgeClosed):
            bus.subscribe_all()

    run(body)
