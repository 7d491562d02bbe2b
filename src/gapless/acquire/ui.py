"""The one-way mirror of a run for people: bounded, drop oldest, never waited for, absent when headless."""

from __future__ import annotations

import threading
from typing import Any

from gapless.acquire.databus import ConductorDataBus
from gapless.acquire.emission import ChannelSample, Reading
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.ring import RingBufferRegistry

UI_CAPACITY = 4096


class UIBridge(ThreadBridge[Any]):
    """Carries readings, receipts and events from the conductor to one watcher; the conductor never waits."""

    def __init__(self, name: str = "ui", capacity: int = UI_CAPACITY) -> None:
        super().__init__(name, capacity=capacity, policy=BackpressurePolicy.DROP_OLDEST)


class UIDataBus(ConductorDataBus):
    """The same bus on the UI's loop, for widgets; every subscription of it drops its oldest."""


class LiveView:
    """Takes a UI bridge dry now and then and keeps what a screen shows: last samples and plot rings.

    ``refresh`` is called by the screen's own timer, 10 times a second; between two calls nothing runs.
    """

    def __init__(self, bridge: UIBridge, window_s: float = 60.0) -> None:
        self.bridge = bridge
        self.rings = RingBufferRegistry(window_s)
        self.last: dict[str, ChannelSample] = {}
        self.counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Take what has come since the last call."""
        with self._lock:
            while burst := self.bridge.take_nowait(1024):
                for item in burst:
                    if type(item) is Reading:
                        self._take(item)

    def _take(self, reading: Reading) -> None:
        device = reading.record.device
        self.counts[device] = self.counts.get(device, 0) + 1
        for sample in reading.samples:
            if type(sample) is ChannelSample:
                self.last[sample.channel] = sample
                if isinstance(sample.value, float | int):
                    self.rings.push(sample.channel, sample.timestamp_ns, float(sample.value))
            else:
                self.rings.get(sample.channel).push_block(sample.timestamps_ns, sample.values)
