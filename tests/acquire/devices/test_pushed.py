"""Devices that speak by themselves: order, overflow told to the record, blocks, and the end of a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from fractions import Fraction
from typing import ClassVar, TypeVar

import numpy as np

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.emission import DeviceEvent, Emission, GapReport, SourceRecord
from gapless.acquire.pushed import _QUEUE_RECORDS, Block, BlockDevice, PushedDevice
from gapless.errors import DeviceFault

T = TypeVar("T")
_DEADLINE_S = 60.0


class Loudspeaker(PushedDevice):
    """Says what the test lets it say."""

    family = "loud"

    def __init__(self) -> None:
        super().__init__("loud", DeviceConfig(adapter="loud"))

    @property
    def resource_id(self) -> str:
        """Its own."""
        return "sim:loud"

    @property
    def expected_rate_hz(self) -> float:
        """Some rate."""
        return 100.0

    def fields(self) -> Sequence[DeviceField]:
        """Return one number."""
        return [DeviceField("x", "int64")]

    async def connect(self) -> None:
        """Nothing is opened."""

    async def disconnect(self) -> None:
        """Nothing is closed."""


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a scenario within the deadline."""

    async def bounded() -> T:
        async with asyncio.timeout(_DEADLINE_S):
            return await scenario()

    return asyncio.run(bounded())


def context() -> StartContext:
    """Return the context of a run that records nothing."""
    return StartContext(HostClock(), "run", recording_enabled=False)


async def all_of(stream: AsyncIterator[Emission]) -> list[Emission]:
    """Return everything until the stream ends."""
    return [emission async for emission in stream]


def values(emissions: Sequence[Emission]) -> list[int]:
    """Return the numbers of the records."""
    return [emission.values[0] for emission in emissions if isinstance(emission, SourceRecord)]


# -- pushed ------------------------------------------------------------------------------------


def test_what_threads_deliver_is_streamed_until_the_stop_and_after_it() -> None:
    """Four threads: everything delivered is there once, each thread's in order, numbered without holes."""

    async def scenario() -> tuple[list[Emission], list[bool]]:
        loud = Loudspeaker()
        await loud.start(context())
        stream = asyncio.create_task(all_of(loud.stream()))
        taken: list[bool] = []

        def speak(first: int) -> None:
            taken.extend([loud.deliver([first + n]) for n in range(1000)])

        await asyncio.gather(*(asyncio.to_thread(speak, 10_000 * n) for n in range(4)))
        await loud.stop()
        return await stream, taken

    emissions, taken = run(scenario)
    found = values(emissions)
    assert taken == [True] * 4000
    assert sorted(found) == [10_000 * n + k for n in range(4) for k in range(1000)]
    for n in range(4):
        mine = [value for value in found if value // 10_000 == n]
        assert mine == sorted(mine)
    assert [record.n for record in emissions if isinstance(record, SourceRecord)] == list(range(4000))


def test_overflow_is_counted_and_spans_what_was_lost() -> None:
    """Nobody reads: the oldest go, and one gap says how many and of which time; reports are all kept."""

    async def scenario() -> list[Emission]:
        loud = Loudspeaker()
        await loud.start(context())
        for n in range(_QUEUE_RECORDS + 100):
            loud.deliver([n], timestamp_ns=1000 + n)
            if n == 10:
                loud.report(loud.event("info", "early", "said while there was room"))
                loud.report(GapReport("loud", "cable", 1, 2, records=7))
        await loud.stop()
        return await all_of(loud.stream())

    emissions = run(scenario)
    found = values(emissions)
    lost = [e for e in emissions if isinstance(e, GapReport) and e.cause == "device_queue_full"]
    assert [(gap.records, gap.start_ns, gap.end_ns) for gap in lost] == [(100, 1000, 1099)]
    assert found == list(range(100, _QUEUE_RECORDS + 100))
    assert [e.kind for e in emissions if isinstance(e, DeviceEvent)] == ["early"]
    assert [e.records for e in emissions if isinstance(e, GapReport) and e.cause == "cable"] == [7]


def test_threads_that_overflow_together_lose_no_count() -> None:
    """Delivered by eight threads: what is streamed and what is in the gap make up everything."""
    each = _QUEUE_RECORDS // 4

    async def scenario() -> list[Emission]:
        loud = Loudspeaker()
        await loud.start(context())

        def speak() -> None:
            for n in range(each):
                loud.deliver([n])

        await asyncio.gather(*(asyncio.to_thread(speak) for _ in range(8)))
        await loud.stop()
        return await all_of(loud.stream())

    emissions = run(scenario)
    lost = sum(e.records or 0 for e in emissions if isinstance(e, GapReport))
    assert lost == 8 * each - _QUEUE_RECORDS
    assert len(values(emissions)) + lost == 8 * each


def test_a_callback_that_meets_the_stop_is_told_and_breaks_nothing() -> None:
    """A library's thread goes on while runs come and go: what was taken is streamed, the rest was refused."""

    async def scenario() -> tuple[int, int, list[BaseException]]:
        loud = Loudspeaker()
        ended = threading.Event()
        taken = 0
        errors: list[BaseException] = []

        def speak() -> None:
            nonlocal taken
            try:
                while not ended.is_set():
                    taken += loud.deliver([1])
            except BaseException as error:  # noqa: BLE001 - the thread's end: the test says what it was
                errors.append(error)

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        streamed = 0
        for _ in range(30):
            await loud.start(context())
            stream = asyncio.create_task(all_of(loud.stream()))
            await asyncio.sleep(0.002)
            await loud.stop()
            emissions = await stream
            streamed += len(values(emissions))
            streamed += sum(e.records or 0 for e in emissions if isinstance(e, GapReport))
        ended.set()
        await asyncio.to_thread(speaker.join, 30)
        return taken, streamed, errors

    taken, streamed, errors = run(scenario)
    assert errors == []
    assert streamed == taken > 0


def test_outside_a_run_nothing_is_taken() -> None:
    """Before the first start and after a stop; the next run does not see it."""

    async def scenario() -> tuple[list[bool], list[Emission]]:
        loud = Loudspeaker()
        event = DeviceEvent("loud", 0, "info", "early", "")
        answers = [loud.deliver([1]), loud.report(event)]
        await loud.start(context())
        await loud.stop()
        answers += [loud.deliver([2]), loud.report(event), *(e is None for e in await all_of(loud.stream()))]
        await loud.start(context())
        answers.append(loud.deliver([3]))
        await loud.stop()
        return answers, await all_of(loud.stream())

    answers, emissions = run(scenario)
    assert answers == [False, False, False, False, True]
    assert values(emissions) == [3]


# -- blocks ------------------------------------------------------------------------------------


class Card(BlockDevice):
    """Gives the blocks and the failures that the test lays out."""

    family: ClassVar[str] = "card"

    def __init__(self, script: Sequence[int | Exception]) -> None:
        super().__init__("card", DeviceConfig(adapter="card"))
        self._script = list(script)

    @property
    def resource_id(self) -> str:
        """Its own."""
        return "sim:card"

    @property
    def expected_rate_hz(self) -> float:
        """Blocks a second."""
        return 100.0

    @property
    def sample_rate(self) -> Fraction:
        """A rate whose period is no whole number of nanoseconds."""
        return Fraction(3000)

    def block_fields(self) -> Sequence[DeviceField]:
        """Return one field."""
        return [DeviceField("x", unit="V")]

    async def connect(self) -> None:
        """Nothing is opened."""

    async def disconnect(self) -> None:
        """Nothing is closed."""

    async def read_block(self) -> Block | None:
        """Return ten samples from the next index, or fail."""
        if not self._script:
            return None
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return Block(step, {"x": np.zeros(10)})


def played(*script: int | Exception) -> list[Emission]:
    """Return what a card gives that is at its end after the script."""

    async def scenario() -> list[Emission]:
        card = Card(script)
        await card.start(context())
        return await all_of(card.stream())

    return run(scenario)


def test_trouble_of_a_card_counts_no_row_twice() -> None:
    """The failure says that something was missed, the indices say how much of it."""
    emissions = played(0, DeviceFault("a bus error"), OSError("again"), 30, 40)
    gaps = [e for e in emissions if isinstance(e, GapReport)]
    assert [(gap.records, gap.rows) for gap in gaps] == [(None, None), (None, 20)]
    assert gaps[0].cause == "device: DeviceFault: a bus error"
    assert [e.kind for e in emissions if isinstance(e, DeviceEvent)] == ["device_lost", "device_back"]
    assert [e.values[:2] for e in emissions if isinstance(e, SourceRecord)] == [(0, 10), (30, 10), (40, 10)]


def test_trouble_that_lasts_until_the_end_leaves_its_gap() -> None:
    """Lost, never back."""
    emissions = played(0, DeviceFault("a bus error"))
    assert [e.kind for e in emissions if isinstance(e, DeviceEvent)] == ["device_lost"]
    assert [(e.records, e.rows) for e in emissions if isinstance(e, GapReport)] == [(None, None)]


def test_a_hole_spans_the_samples_that_are_missing() -> None:
    """From the first missing sample to the next that is there; a card that counts back is told, not counted."""
    emissions = played(0, 20, 15)
    records = [e for e in emissions if isinstance(e, SourceRecord)]
    hole, back = [e for e in emissions if isinstance(e, GapReport)]
    t0_ns = records[0].timestamp_ns
    assert (hole.start_ns - t0_ns, hole.end_ns - t0_ns, hole.rows) == (
        10 * 10**9 // 3000,
        20 * 10**9 // 3000,
        10,
    )
    assert hole.end_ns == records[1].timestamp_ns
    assert (back.rows, back.records) == (None, None)
    assert back.start_ns < back.end_ns
