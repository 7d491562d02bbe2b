"""What an adapter's code does to the kit when it is late, slow or wrong: reconnecting and blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gapless.acquire.adapter import Bus, DeviceField, StartContext
from gapless.acquire.device_config import DeviceConfig, PolledConfig
from gapless.acquire.devices.simulated_blocks import SimulatedBlockDevice, SimulatedBlocksConfig
from gapless.acquire.emission import DeviceEvent, Emission, GapReport, SourceRecord
from gapless.acquire.kit import Device, PolledDevice
from gapless.acquire.pushed import Block, BlockDevice
from gapless.errors import DeviceFault
from gapless.testing.adapter_run import FarClock, Observed

_WAIT_S = 30.0


def run(
    device: Device, scenario: Callable[[Observed], Awaitable[None]], *, late_s: float = 0.0
) -> list[Emission]:
    """Run a device, whose stream begins ``late_s`` after its start, through a scenario; return all it gave."""

    async def main() -> list[Emission]:
        async with asyncio.timeout(2 * _WAIT_S):
            clock = FarClock()
            device.share(Bus())
            await device.open()
            began_ns = clock.now_ns()
            await device.start(StartContext(clock, "run", recording_enabled=False))
            await asyncio.sleep(late_s)
            observed = Observed(device, device.context, began_ns)
            await scenario(observed)
            await device.stop()
            await observed.task
            await device.close()
            return observed.emissions

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline_s = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)


def kinds(emissions: Sequence[Emission]) -> list[str]:
    """Return the kinds of the events."""
    return [emission.kind for emission in emissions if isinstance(emission, DeviceEvent)]


class Instrument(PolledDevice):
    """Needs a while to connect, longer than to answer; fails once; may never let anybody in again."""

    family = "instrument"

    def __init__(self, *, lets_in: bool = True) -> None:
        super().__init__(
            "i", PolledConfig(adapter="x", rate_hz=100, read_timeout_s=0.1, open_timeout_s=2 * _WAIT_S)
        )
        self.lets_in = lets_in
        self.connects = self.reads = 0

    @property
    def resource_id(self) -> str:
        """Nothing that anybody else could hold."""
        return "test:i"

    def fields(self) -> Sequence[DeviceField]:
        """Return one column."""
        return [DeviceField("v")]

    async def connect(self) -> None:
        """Take three times as long as an answer may."""
        self.connects += 1
        if self.connects > 1 and not self.lets_in:
            await asyncio.Event().wait()
        await asyncio.sleep(0.3)

    async def disconnect(self) -> None:
        """Nothing is open."""

    async def read(self) -> Sequence[Any]:
        """Fail at the third time."""
        self.reads += 1
        if self.reads == 3:
            raise DeviceFault("unplugged for a moment")
        return [1.0]


def test_a_device_that_connects_slower_than_it_answers_comes_back() -> None:
    """A new connection has ``open_timeout_s``, not what an answer has."""
    device = Instrument()

    async def scenario(observed: Observed) -> None:
        await until(lambda: "device_back" in kinds(observed.emissions))
        await until(lambda: observed.count >= 5)

    given = run(device, scenario)
    assert kinds(given) == ["device_lost", "device_back"]
    assert [gap.records for gap in given if isinstance(gap, GapReport)] == [1]
    assert device.connects == 2


def test_a_stop_does_not_wait_for_a_connection_that_hangs() -> None:
    """The stream ends soon after the stop although the connection would have a minute more."""
    device = Instrument(lets_in=False)

    async def scenario(_observed: Observed) -> None:
        await until(lambda: device.connects == 2)

    given = run(device, scenario)
    assert kinds(given) == ["device_lost"]
    assert len([gap for gap in given if isinstance(gap, GapReport)]) == 1


class Card(BlockDevice):
    """Gives blocks of ten at 1 kHz; one call, the third, is answered as ``third`` says."""

    family = "card"

    def __init__(self, third: Callable[[], Awaitable[Block]] | None = None, *, forever: bool = False) -> None:
        super().__init__("c", DeviceConfig(adapter="x", read_timeout_s=2.0))
        self.third, self.forever = third, forever
        self.calls = self.given = 0

    @property
    def resource_id(self) -> str:
        """Nothing that anybody else could hold."""
        return "test:c"

    @property
    def expected_rate_hz(self) -> float:
        """Blocks a second."""
        return 100.0

    @property
    def sample_rate(self) -> Fraction:
        """1 kHz."""
        return Fraction(1000)

    def block_fields(self) -> Sequence[DeviceField]:
        """Return one field."""
        return [DeviceField("c0")]

    async def connect(self) -> None:
        """Nothing is opened."""

    async def disconnect(self) -> None:
        """Nothing is closed."""

    async def read_block(self) -> Block:
        """Return the next ten samples."""
        self.calls += 1
        if self.third is not None and (self.calls == 3 or (self.forever and self.calls > 3)):
            return await self.third()
        await asyncio.sleep(0.005)
        first, self.given = self.given, self.given + 10
        return Block(first, {"c0": np.zeros(10)})


async def _never() -> Block:
    await asyncio.Event().wait()
    raise AssertionError


async def _empty() -> Block:
    return Block(20, {"c0": np.zeros(0)})


async def _uneven() -> Block:
    return Block(20, {"c0": np.zeros(10), "c1": np.zeros(9)})


@pytest.mark.parametrize("third", [_never, _empty, _uneven])
def test_a_block_that_does_not_come_or_is_none_is_trouble(third: Callable[[], Awaitable[Block]]) -> None:
    """It is told once, the gap counts no rows that the indices do not miss, and the samples go on."""

    async def scenario(observed: Observed) -> None:
        await until(lambda: observed.count >= 5)

    given = run(Card(third), scenario)
    assert kinds(given) == ["device_lost", "device_back"]
    assert [(gap.records, gap.rows) for gap in given if isinstance(gap, GapReport)] == [(None, None)]
    firsts = [record.values[0] for record in given if isinstance(record, SourceRecord)]
    assert firsts == list(range(0, 10 * len(firsts), 10))


def test_a_stop_does_not_wait_for_a_block_that_never_comes() -> None:
    """The stream of a card that hangs ends by itself, with one event and one gap."""
    device = Card(_never, forever=True)

    async def scenario(_observed: Observed) -> None:
        await until(lambda: device.calls >= 3)

    given = run(device, scenario)
    assert kinds(given) == ["device_lost"]
    assert len([gap for gap in given if isinstance(gap, GapReport)]) == 1


def test_sample_0_is_of_the_start_however_late_it_is_asked_for() -> None:
    """A card samples from its start on: a stream that begins later does not move its samples."""

    async def scenario(observed: Observed) -> None:
        await until(lambda: observed.count >= 40)

    device = SimulatedBlockDevice(
        "c", SimulatedBlocksConfig(adapter="simulated_blocks", sample_rate_hz=1000, block=10)
    )
    records = [r for r in run(device, scenario, late_s=0.3) if isinstance(r, SourceRecord)]
    for record in records:
        first_ns, (_, count, arrival_ns) = record.timestamp_ns, record.values
        assert first_ns + (count - 1) * 1_000_000 <= arrival_ns  # nothing arrives before it was sampled


def test_a_card_that_holds_little_loses_what_a_late_reader_leaves() -> None:
    """Every sample up to the last is in a block or in a gap's count."""

    async def scenario(observed: Observed) -> None:
        await until(lambda: observed.count >= 10)
        time.sleep(0.3)  # the reader is late because its loop is
        count = observed.count
        await until(lambda: observed.count >= count + 10)

    config = SimulatedBlocksConfig(adapter="simulated_blocks", sample_rate_hz=1000, block=10, overrun_limit=3)
    given = run(SimulatedBlockDevice("c", config), scenario)
    records = [r for r in given if isinstance(r, SourceRecord)]
    gaps = [gap for gap in given if isinstance(gap, GapReport)]
    assert gaps
    lost = sum(gap.rows or 0 for gap in gaps)
    assert lost % 10 == 0
    assert records[-1].values[0] + 10 == sum(r.values[1] for r in records) + lost
