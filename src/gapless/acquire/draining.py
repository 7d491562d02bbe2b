"""The drains of a run: one task for each worker's bridge, and the count of what one could not take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from gapless.acquire.emission import GapReport, Reading, SampleBlock
from gapless.flow.bridge import ThreadBridge

_CANCEL_S = 2.0


class Drains:
    """Takes every bridge to its end. ``accept`` makes a crossing the recorder's, ``spread`` tells it further.

    A crossing is in hand until it is accepted, so that a drain that is cancelled loses none uncounted. What
    ``accept`` or ``spread`` raises goes to ``failed``; the drain then takes the rest and counts it, so that
    no device waits for a disk that is gone.
    """

    def __init__(
        self,
        accept: Callable[[Any], Awaitable[None]],
        spread: Callable[[Any], Awaitable[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._accept = accept
        self._spread = spread
        self._failed = failed
        self._tasks: list[asyncio.Task[None]] = []
        self._bridges: list[ThreadBridge[Any]] = []
        self._in_hand: list[deque[Any]] = []
        self.lost_readings = 0

    def start(self, bridge: ThreadBridge[Any]) -> None:
        """Begin to drain a bridge, on the running loop."""
        in_hand: deque[Any] = deque()
        self._bridges.append(bridge)
        self._in_hand.append(in_hand)
        self._tasks.append(
            asyncio.get_running_loop().create_task(self._drain(bridge, in_hand), name=f"drain-{bridge.name}")
        )

    async def _drain(self, bridge: ThreadBridge[Any], in_hand: deque[Any]) -> None:
        try:
            while burst := await bridge.get_burst():
                in_hand.extend(burst)
                while in_hand:
                    crossing = in_hand[0]
                    await self._accept(crossing)
                    in_hand.popleft()
                    await self._spread(crossing)
            return
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the task's boundary: it ends the run
            self._failed(error)
        self._discard(in_hand)
        while burst := await bridge.get_burst():
            self._discard(burst)

    def _discard(self, crossings: Any) -> None:
        self.lost_readings += sum(type(item) is Reading for item in crossings)
        crossings.clear()

    async def end(self, deadline_s: float) -> list[Reading]:
        """Drain to the end, at most ``deadline_s``; return the readings that nobody took."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=deadline_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CANCEL_S)
        rest = [item for in_hand in self._in_hand for item in in_hand]
        for bridge in self._bridges:
            while items := bridge.take_nowait(1024):
                rest += items
        return [item for item in rest if type(item) is Reading]


def gaps_of(readings: Iterable[Reading], cause: str) -> list[GapReport]:
    """Return one gap for each device whose readings were lost."""
    of_device: dict[str, list[Reading]] = {}
    for reading in readings:
        of_device.setdefault(reading.record.device, []).append(reading)
    gaps = []
    for device, lost in of_device.items():
        stamps = [reading.record.timestamp_ns for reading in lost]
        rows = sum(_rows_of(reading) for reading in lost)
        gaps.append(GapReport(device, cause, min(stamps), max(stamps), len(lost), rows))
    return gaps


def _rows_of(reading: Reading) -> int:
    first = reading.samples[0] if reading.samples else None
    return len(first.values) if isinstance(first, SampleBlock) else 1
