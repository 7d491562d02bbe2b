"""The pictures of one run that did not come: told as one event, one gap and, for a source, one event of its return.

Belongs to the camera's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from gapless.acquire.emission import Emission, GapReport
from gapless.acquire.kit import Device
from gapless.errors import GaplessError

_NS = 10**9
_JUMP_PERIODS = 10


class FrameLosses:
    """Counts what is missing between two pictures. ``taken``: pictures so far.

    ``fixed_rate``: the source's own times are a period apart, so that a hole in them can be counted.
    """

    def __init__(
        self, device: Device, give: Callable[[list[Emission]], None], *, fixed_rate: bool = False
    ) -> None:
        self.give = give
        self.taken = 0
        self._device = device
        self._period_ns = _NS / device.expected_rate_hz
        self._fixed = fixed_rate
        self._last_ns = device.context.clock.now_ns()
        self._last_pts_ns: int | None = None
        self._cause = ""
        self._began_ns = 0
        self._count: int | None = 0

    def source_opened(self) -> None:
        """Note that the source's own times begin anew."""
        self._last_pts_ns = None

    def source_gone(self, error: GaplessError) -> None:
        """Tell, once for an outage, that the source broke: how many pictures are lost nobody can know."""
        if self._cause and self._count is None:
            return
        self._leave_gap(self._device.context.clock.now_ns())
        self._begin(error, self._last_ns, None, "device_lost")

    def picture_lost(self, error: GaplessError) -> None:
        """Count one picture that came and cannot be kept."""
        if self._cause and self._count is not None:
            self._count += 1
            return
        if not self._cause:
            self._begin(error, self._device.context.clock.now_ns(), 1, "frame_lost")

    def picture_came(self, timestamp_ns: int, pts_ns: int | None) -> None:
        """Tell what was lost before this picture, by faults or by a hole in the source's own times."""
        if self._cause:
            was_away = self._count is None
            self._leave_gap(timestamp_ns)
            if was_away:
                self.give([self._device.event("info", "device_back", f"{self._device.name} is back")])
        elif pts_ns is not None and self._last_pts_ns is not None:
            self._check_step(pts_ns - self._last_pts_ns, timestamp_ns)
        self.taken += 1
        self._last_ns, self._last_pts_ns = timestamp_ns, pts_ns

    def run_ends(self) -> None:
        """Leave the gap of what is missing now."""
        self._leave_gap(self._device.context.clock.now_ns())

    def _begin(self, error: GaplessError, began_ns: int, count: int | None, kind: str) -> None:
        found = "" if error.found is None else f": {error.found}"
        self._cause, self._began_ns, self._count = f"{error.message}{found}", began_ns, count
        words = f"{self._device.name}: {self._cause}"
        self.give([self._device.event("warning", kind, words, cause=self._cause)])

    def _leave_gap(self, end_ns: int) -> None:
        if not self._cause:
            return
        cause, self._cause = f"device: {self._cause}", ""
        self.give([GapReport(self._device.name, cause, self._began_ns, end_ns, records=self._count)])

    def _check_step(self, step_ns: int, timestamp_ns: int) -> None:
        """Look for pictures that the source or the library left out."""
        missing = round(step_ns / self._period_ns) - 1
        if self._fixed and missing > 0:
            self.left_out(missing, timestamp_ns)
        elif step_ns <= 0 or missing > _JUMP_PERIODS:
            words = f"{self._device.name}: the source's own time went on by {step_ns / _NS:g} s"
            self.give([self._device.event("warning", "time_jump", words, step_ns=step_ns)])

    def left_out(self, missing: int, timestamp_ns: int) -> None:
        """Tell of pictures that the source left out before the one at ``timestamp_ns``."""
        name = self._device.name
        words = f"{name}: the source left out {missing} pictures"
        event = self._device.event("warning", "frame_lost", words, missing=missing)
        self.give([event, GapReport(name, "device: left out", self._last_ns, timestamp_ns, missing)])


__all__ = ["FrameLosses"]
