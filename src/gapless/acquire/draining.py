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
        self._lost = Losses()
        self.lost_readings = 0
        self.rest: list[Any] = []

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
        """Count readings that nobody can take any more; keep what else came for the end."""
        self.rest += [item for item in crossings if type(item) is not Reading]
        readings = [item for item in crossings if type(item) is Reading]
        self.lost_readings += len(readings)
        self._lost.add(readings)
        crossings.clear()

    async def end(self, deadline_s: float) -> list[GapReport]:
        """Drain to the end, at most ``deadline_s``; return the gaps of the readings that nobody took.

        :attr:`rest` is then what else was not taken: gaps, events, receipts.
        """
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=deadline_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_CANCEL_S)
        undrained = Losses()
        for crossings in [*self._in_hand, *(_left_in(bridge) for bridge in self._bridges)]:
            self.rest += [item for item in crossings if type(item) is not Reading]
            undrained.add(item for item in crossings if type(item) is Reading)
        return [*self.take_discarded(), *undrained.gaps("drain_deadline")]

    def take_discarded(self) -> list[GapReport]:
        """Return, once, the gaps of what was discarded before, because a drain had failed."""
        lost, self._lost = self._lost, Losses()
        return lost.gaps("drain_failed")

    def salvage(self, losses: Losses) -> None:
        """Take all that waits, from another thread, once the loop does not turn any more.

        Readings are counted, the rest is kept in :attr:`rest`. A drain whose loop turns again finds nothing.
        """
        for in_hand in self._in_hand:
            while in_hand:
                self._keep(in_hand.popleft(), losses)
        for bridge in self._bridges:
            while items := bridge.take_nowait():
                for item in items:
                    self._keep(item, losses)

    def _keep(self, item: object, losses: Losses) -> None:
        if type(item) is Reading:
            losses.add((item,))
        else:
            self.rest.append(item)


def _left_in(bridge: ThreadBridge[Any]) -> list[Any]:
    left: list[Any] = []
    while items := bridge.take_nowait(1024):
        left += items
    return left


class Losses:
    """Readings that were lost, by device: how many, of which time, how many rows of each group."""

    def __init__(self) -> None:
        self._of_device: dict[str, list[int]] = {}

    def add(self, readings: Iterable[Reading]) -> None:
        """Count readings."""
        for reading in readings:
            stamp = reading.record.timestamp_ns
            known = self._of_device.setdefault(reading.record.device, [stamp, stamp, 0, 0])
            known[0], known[1] = min(known[0], stamp), max(known[1], stamp)
            known[2] += 1
            known[3] += _rows_of(reading)

    def gaps(self, cause: str) -> list[GapReport]:
        """Return one gap for each device."""
        return [
            GapReport(device, cause, start_ns, end_ns, count, rows)
            for device, (start_ns, end_ns, count, rows) in self._of_device.items()
        ]


def _rows_of(reading: Reading) -> int:
    first = reading.samples[0] if reading.samples else None
    return len(first.values) if isinstance(first, SampleBlock) else 1
