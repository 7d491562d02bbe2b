"""Sources for the benchmarks of acquisition: devices that are as fast as they are taken, or keep a pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gapless.acquire.adapter import DeviceField
from gapless.acquire.calibration.resolution import resolve_channels
from gapless.acquire.channel import read_channels
from gapless.acquire.device_config import DeviceConfig
from gapless.acquire.emission import Emission
from gapless.acquire.ending import RunResult
from gapless.acquire.kit import Device
from gapless.acquire.pushed import Block, BlockDevice
from gapless.acquire.rig import DeviceEntry, Rig
from gapless.acquire.run import Run
from gapless.acquire.settings import RunSettings
from gapless.client.client import connect

BLOCK = 1000


class FastConfig(DeviceConfig):
    """How much a device gives, how many fields at once, and at what pace (0: as fast as it is taken)."""

    adapter: str = "fast"
    records: int
    width: int = 1
    rate_hz: float = 0.0


class _Silent(Device):
    """A device without a wire."""

    family = "fast"
    Config: ClassVar[type[DeviceConfig]] = FastConfig

    @property
    def resource_id(self) -> str:
        return f"sim:{self.name}"

    async def connect(self) -> None:
        return

    async def disconnect(self) -> None:
        return


class FastDevice(_Silent):
    """Gives records of ``width`` numbers one by one."""

    @property
    def expected_rate_hz(self) -> float:
        return float(self.config.rate_hz) or 10_000.0

    def fields(self) -> Sequence[DeviceField]:
        return [DeviceField(f"f{n}") for n in range(self.config.width)]

    async def stream(self) -> AsyncIterator[Emission]:
        values = [1.5] * self.config.width
        now_ns, rate_hz = self.context.clock.now_ns, self.config.rate_hz
        began_s = time.perf_counter()
        for n in range(self.config.records):
            if self.stopping:
                return
            if rate_hz and (ahead_s := n / rate_hz - (time.perf_counter() - began_s)) > 0.001:
                await asyncio.sleep(ahead_s)
            for emission in self.record(values, now_ns()):
                yield emission


class FastBlocks(_Silent, BlockDevice):
    """Gives blocks of 1,000 samples of ``width`` fields; at a pace it stands for a fast sampling card."""

    @property
    def expected_rate_hz(self) -> float:
        return float(self.config.rate_hz or 1_000_000) / BLOCK

    @property
    def sample_rate(self) -> Fraction:
        return Fraction(int(self.config.rate_hz or 1_000_000))

    def block_fields(self) -> Sequence[DeviceField]:
        return [DeviceField(f"f{n}") for n in range(self.config.width)]

    async def read_block(self) -> Block | None:
        if self._n >= self.config.records:
            return None
        if self._n == 0:
            self._began_s = time.perf_counter()
            self._values = np.sin(np.arange(BLOCK) / 50)
        if self.config.rate_hz:
            due_s = (self._n + 1) * BLOCK / self.config.rate_hz
            await asyncio.sleep(max(0.0, due_s - (time.perf_counter() - self._began_s)))
        return Block(self._n * BLOCK, {f"f{n}": self._values for n in range(self.config.width)})


@dataclass
class Recorded:
    """What became of a recording: its result, the counts of its ledgers, and the run itself."""

    result: RunResult
    produced: int
    written: int
    gapped: int
    run: Run
    flowing_s: float  # from the arming of the devices to the last drained reading


def rig_of(devices: Mapping[str, tuple[type[Any], FastConfig]], settings: RunSettings | None = None) -> Rig:
    """Return a rig with a linearly calibrated channel for each field of each device."""
    tables = [
        {
            "name": f"{name}_c{n}", "device": name, "field": f"f{n}", "unit": "V",
            "calibration": {"kind": "linear", "gain": 2.0, "offset": 1.0},
        }
        for name, (_, config) in devices.items()
        for n in range(config.width)
    ]  # fmt: skip
    fields = {name: kind(name, config).channel_fields() for name, (kind, config) in devices.items()}
    entries = {name: DeviceEntry(name, config, kind) for name, (kind, config) in devices.items()}
    channels = resolve_channels(read_channels(tables), fields)
    return Rig("bench", entries, channels, run=settings or RunSettings())


def record(
    store: Path,
    devices: Mapping[str, tuple[type[Any], FastConfig]],
    *,
    readers: bool = True,
    length_s: float | None = None,
) -> Recorded:
    """Record the devices to their end; with ``readers`` one subscriber on the bus and one watcher."""
    with connect(store, deadline_s=60) as client:
        run = Run(rig_of(devices), client, name="x", length_s=length_s)
        flowing_s = _prepare(run, next(iter(devices)) if readers else None)
        run.start()
        result = run.wait()
        assert result is not None
        topics = client.sequence_handler("x").reader.topics
        ledgers = [topic.ledger for name, topic in topics.items() if name.startswith("channels/")]
    counts = [sum(ledger[key] for ledger in ledgers) for key in ("produced", "written", "gapped")]
    return Recorded(result, *counts, run, flowing_s[0])


def _prepare(run: Run, device: str | None) -> list[float]:
    """Add a reader of the device and a watcher, and measure how long readings flow."""
    from gapless.acquire.ui import UIMirror

    make = run._make_conductor
    flowing_s: list[float] = []

    def make_with_readers() -> Any:
        conductor = make()
        conduct = conductor.run

        def timed() -> None:
            began_s = time.perf_counter()
            conduct()
            flowing_s.append(time.perf_counter() - began_s)

        conductor.run = timed  # type: ignore[method-assign]
        if device is None:
            return conductor

        async def subscriber(_conductor: Any) -> None:
            with conductor.bus.subscribe_channel(f"{device}_c0", capacity=4096) as samples:
                while await samples.get_burst():
                    pass

        conductor._analyzers = [subscriber]
        run.conductor = conductor
        UIMirror(run.feed(4096)).start()
        return conductor

    run._make_conductor = make_with_readers  # type: ignore[method-assign]
    return flowing_s
