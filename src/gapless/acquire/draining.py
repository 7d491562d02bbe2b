"""The drains of a run: one task for each worker's bridge, and the count of what one could not take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gapless.acquire.emission import GapReport, Reading, SampleBlock
from gapless.flow.bridge import ThreadBridge

_CANCEL_S = 2.0
_STRETCH = 64  # readings accepted before they are told further


class Drains:
    """Takes every bridge to its end: ``accept`` makes a reading the recorder's, ``spread`` tells it further.

    ``accept_now`` does so without waiting, or returns False and did nothing; ``accept`` waits for room.
    ``other`` takes what crosses besides readings. A crossing is in hand until it is accepted, so that a
    drain that is cancelled loses none uncounted; what was accepted before a failure is told all the same.
    What any of them raises goes to ``failed``; the drain then takes the rest and counts it, so that no
    device waits for a disk that is gone.
    """

    def __init__(
        self,
        accept_now: Callable[[Reading], bool],
        accept: Callable[[Reading], Awaitable[None]],
        spread: Callable[[Sequence[Reading]], Awaitable[None]],
        other: Callable[[Any], Awaitable[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._accept_now = accept_now
        self._accept = accept
        self._spread = spread
        self._other = other
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
                    await self._stretch(in_hand)
            return
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the task's boundary: it ends the run
            self._failed(error)
        self._discard(in_hand)
        while burst := await bridge.get_burst():
            self._discard(burst)

    async def _stretch(self, in_hand: deque[Any]) -> None:
        """Accept some readings, then tell them further; or take one crossing of another kind."""
        if type(in_hand[0]) is not Reading:
            await self._other(in_hand[0])
            in_hand.popleft()
            return
        accepted: list[Reading] = []
        try:
            while in_hand and len(accepted) < _STRETCH and type(in_hand[0]) is Reading:
                if not self._accept_now(in_hand[0]):
                    if accepted:
                        break
                    await self._accept(in_hand[0])
                accepted.append(in_hand.popleft())
        finally:
            if accepted:
                await self._spread(accepted)

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
