"""Devices whose streams broke in a run that goes on without them: tried again until they are back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from gapless.acquire.clock import RunClock
from gapless.acquire.emission import DeviceEvent, GapReport
from gapless.acquire.worker import StreamBegan

# Soon after a plug that was pulled by mistake; at length so seldom that neighbours on a bus are left alone.
_BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_TELL_S = 60.0  # a device that is away for a night must not fill the events
_HELD_S = 5.0  # a stream that lasted so long is a device that is back, also one that has nothing to say
_PATIENCE_S = 60.0  # five tries, and time to put a plug back, before a run without any device ends


@dataclass
class _Absence:
    """One device from the break of its stream until it is back. ``step``: how often it was tried lately."""

    clock: RunClock
    since_ns: int
    cause: str
    step: int = 0
    tries: int = 0
    told_s: float | None = None
    began_ns: int | None = None  # its stream crosses again; nobody knows yet whether it lasts
    fault: str = ""
    broke: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    back_s: float = 0.0

    def gap(self, device: str) -> GapReport:
        """Return what is missing so far; how many records that is, nobody knows."""
        end_ns = self.clock.now_ns() if self.began_ns is None else self.began_ns
        return GapReport(device, f"device_failed: {self.cause}", self.since_ns, max(self.since_ns, end_ns))


class Revivals:
    """Brings devices back one try after the other; used on the conductor's loop.

    ``revive`` is one try, ``may_try`` tells whether the run is one to try in. A device is back with the
    first thing it gives, or when its new stream has lasted; ``back`` is called then, and ``tell`` takes the
    event and the gap. ``give_up`` is called with the reason when no device is left. Without ``tries``, as in
    simulated time, which does not pass while a device is away, nothing is tried.
    """

    def __init__(
        self,
        revive: Callable[[str], Awaitable[None]],
        *,
        may_try: Callable[[], bool],
        back: Callable[[str], None],
        tell: Callable[[DeviceEvent | GapReport], None],
        give_up: Callable[[str], None],
        tries: bool = True,
    ) -> None:
        self._revive = revive
        self._may_try = may_try
        self._back = back
        self._tell = tell
        self._give_up = give_up
        self._tries = tries
        self._away: dict[str, _Absence] = {}
        self._before: dict[str, _Absence] = {}  # the last absence of those that are back
        self._timer: asyncio.TimerHandle | None = None

    @property
    def away(self) -> Mapping[str, object]:
        """The devices whose streams broke and that are not back."""
        return self._away

    def lost(self, device: str, clock: RunClock, since_ns: int, cause: str) -> None:
        """Note that a stream broke, and begin to try; one that broke before it was back is tried on."""
        absence = self._away.get(device)
        if absence is not None:
            absence.began_ns, absence.fault = None, cause
            absence.broke.set()
            return
        absence = self._away[device] = _Absence(clock, since_ns, cause)
        before = self._before.get(device)
        if before is not None:
            absence.told_s = before.told_s
            if (
                time.monotonic() - before.back_s < _BACKOFF_S[-1]
            ):  # back and gone: no sooner than the last time
                absence.step = before.step
        if self._tries:
            absence.task = asyncio.get_running_loop().create_task(
                self._bring_back(device, absence), name=f"revive-{device}"
            )

    def began(self, began: StreamBegan) -> None:
        """Note that the stream of a device that was tried crosses again."""
        absence = self._away.get(began.device)
        if absence is not None:
            absence.began_ns = began.timestamp_ns

    def gave(self, device: str) -> None:
        """Note that a device gave something: if it was away, it is back."""
        absence = self._away.get(device)
        if absence is None:
            return
        if absence.task is not None:
            absence.task.cancel()
        self._came_back(device, absence)

    def await_one(self, longest_silence_s: float) -> None:
        """Give up unless a device is back within a minute, or the longest that any may be silent."""
        if self._timer is not None:
            return
        if not self._tries:
            self._give_up("every device broke")
            return
        limit_s = max(_PATIENCE_S, longest_silence_s)
        words = f"every device broke, and none was back within {limit_s:g} s"
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._give_up, words)

    def end(self) -> None:
        """Try no more: the run ends."""
        self._tries = False
        self._wait_no_more()
        for absence in self._away.values():
            if absence.task is not None:
                absence.task.cancel()

    def take_gaps(self) -> list[GapReport]:
        """Return, once, what is missing of the devices that did not come back."""
        away, self._away = self._away, {}
        return [absence.gap(device) for device, absence in away.items()]

    # -- one device ----------------------------------------------------------------------------

    async def _bring_back(self, device: str, absence: _Absence) -> None:
        while True:
            await asyncio.sleep(_BACKOFF_S[min(absence.step, len(_BACKOFF_S) - 1)])
            if not self._may_try():
                continue
            absence.step += 1
            absence.tries += 1
            fault = await self._try(device, absence)
            if fault is None:
                self._came_back(device, absence)
                return
            self._tell_away(device, absence, fault)

    async def _try(self, device: str, absence: _Absence) -> str | None:
        """Return what went wrong with one try; None for a stream that lasts."""
        absence.broke.clear()
        answer = asyncio.ensure_future(self._revive(device))
        try:
            await asyncio.wait([answer])
        finally:
            answer.cancel()
        if answer.cancelled():
            raise asyncio.CancelledError("the devices are made safe or stopped")
        error = answer.exception()
        if error is not None:
            return f"{type(error).__name__}: {getattr(error, 'message', None) or error}".removesuffix(": ")
        try:
            async with asyncio.timeout(_HELD_S):
                await absence.broke.wait()
        except TimeoutError:
            return None
        return absence.fault

    def _came_back(self, device: str, absence: _Absence) -> None:
        del self._away[device]
        self._before[device] = absence
        absence.back_s = time.monotonic()
        self._wait_no_more()
        self._back(device)
        gap = absence.gap(device)
        away_s = (gap.end_ns - gap.start_ns) / 1e9
        words = f"{device} is back after {away_s:.1f} s and {_times(absence.tries)}"
        data = {"away_s": round(away_s, 3), "tries": absence.tries, "cause": absence.cause}
        self._tell(gap)
        self._tell(DeviceEvent(device, gap.end_ns, "info", "device_back", words, data))

    def _tell_away(self, device: str, absence: _Absence, fault: str) -> None:
        """Tell of a try that failed, unless one was told of in the last minute."""
        now_s = time.monotonic()
        if absence.told_s is not None and now_s - absence.told_s < _TELL_S:
            return
        absence.told_s = now_s
        words = f"{device} is away after {_times(absence.tries)}: {fault}"
        data = {"tries": absence.tries, "fault": fault}
        self._tell(DeviceEvent(device, absence.clock.now_ns(), "warning", "device_away", words, data))

    def _wait_no_more(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _times(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"


__all__ = ["Revivals"]
