"""The one-way mirror of a run for people: bounded, drop oldest, never waited for, absent when headless."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from gapless.acquire.databus import ConductorDataBus
from gapless.acquire.emission import ChannelSample, Reading, SampleBlock
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.ring import RingBufferRegistry

UI_CAPACITY = 4096


class UIBridge(ThreadBridge[Any]):
    """Carries readings, receipts and events from the conductor to one watcher; the conductor never waits."""

    def __init__(self, name: str = "ui", capacity: int = UI_CAPACITY) -> None:
        super().__init__(name, capacity=capacity, policy=BackpressurePolicy.DROP_OLDEST)


class UIDataBus(ConductorDataBus):
    """The same bus on the UI's loop, for widgets; it never waits, so every subscription drops its oldest."""


class UIMirror:
    """The UI's side of a bridge: a thread and loop that publish for widgets and fill the rings of plots.

    A screen reads :attr:`rings` from its own timer, about ten times a second. Decimation is for plots only.
    """

    def __init__(self, bridge: UIBridge, window_s: float = 60.0) -> None:
        self.bridge = bridge
        self.bus = UIDataBus()
        self.rings = RingBufferRegistry(window_s)
        self._thread = threading.Thread(target=self._run, name="gapless-ui", daemon=True)

    def start(self) -> None:
        """Begin to take what the conductor mirrors."""
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Close the bridge; the thread ends when it has taken what was left."""
        self.bridge.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        asyncio.run(self._drain())

    async def _drain(self) -> None:
        while burst := await self.bridge.get_burst():
            for item in burst:
                if type(item) is Reading:
                    for sample in item.samples:
                        self._take(sample)
        self.bus.close()

    def _take(self, sample: ChannelSample | SampleBlock) -> None:
        self.bus.publish_nowait(sample)
        if isinstance(sample, SampleBlock):
            self.rings.push_block(sample.channel, sample.timestamps_ns, sample.values)
        elif isinstance(sample.value, float | int):
            self.rings.push(sample.channel, sample.timestamp_ns, float(sample.value))
