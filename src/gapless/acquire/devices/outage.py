"""The time in which something that speaks by itself is away, told in events and a gap that nobody can count."""

from __future__ import annotations

from gapless.acquire.emission import GapReport
from gapless.acquire.pushed import PushedDevice


class Outage:
    """One event when ``subject`` goes, one gap and one event when it comes back; told in runs only.

    What is away when a run begins is told at its beginning; what is away when it ends leaves a gap.
    Not safe for threads: the owner calls everything under one lock or on one thread.
    """

    def __init__(self, device: PushedDevice, subject: str) -> None:
        self._device = device
        self._subject = subject
        self._cause = ""
        self._began_ns = 0
        self._run_began_ns: int | None = None

    @property
    def is_on(self) -> bool:
        """Whether the subject is away."""
        return bool(self._cause)

    def begin(self, error: BaseException | str, since_ns: int | None = None) -> None:
        """Say that it is gone, since ``since_ns`` of the run's clock or since now; once for an outage."""
        if not self._cause:
            self._cause = error if isinstance(error, str) else _words(error)
            self._tell(since_ns)

    def end(self) -> None:
        """Say that it is back, if it was away."""
        if not self._cause:
            return
        self._leave_gap()
        cause, self._cause = self._cause, ""
        if self._run_began_ns is not None:
            device = self._device
            device.report(device.event("info", "device_back", f"{self._subject} is back", cause=cause))

    def run_began(self) -> None:
        """Tell of an outage that is on already."""
        self._run_began_ns = self._device.context.clock.now_ns()
        if self._cause:
            self._tell(None)

    def run_ends(self) -> None:
        """Leave the gap of an outage that is still on; to be called while the device still takes reports."""
        if self._cause:
            self._leave_gap()
        self._run_began_ns = None

    def _tell(self, since_ns: int | None) -> None:
        if self._run_began_ns is None:
            return
        device = self._device
        now_ns = device.context.clock.now_ns()
        self._began_ns = max(self._run_began_ns, now_ns if since_ns is None else since_ns)
        words = f"{self._subject} is away: {self._cause}"
        device.report(device.event("warning", "device_lost", words, cause=self._cause))

    def _leave_gap(self) -> None:
        if self._run_began_ns is None:
            return
        device = self._device
        now_ns = device.context.clock.now_ns()
        device.report(GapReport(device.name, f"device: {self._cause}", self._began_ns, now_ns, records=None))


def _words(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


__all__ = ["Outage"]
