"""An alarm on one channel: a band that its value may not leave, and what counts as having left it.

A value that is not known counts as outside: one the device calls bad, one that is not finite, a derived one
whose input is too old, and one that stands for something beyond the end of its calibration curve. A
channel last seen outside stays outside until a value says otherwise.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from gapless.acquire.channel import AlarmAction, AlarmSpec
from gapless.acquire.emission import ChannelSample, SampleBlock, SampleStatus
from gapless.acquire.finding import Finding
from gapless.model.outcome import Outcome

_UNKNOWN = int(
    SampleStatus.NOT_FINITE | SampleStatus.DEVICE_INVALID | SampleStatus.STALE | SampleStatus.CLAMPED
)


class Alarm:
    """Follows one channel. Values come on the conductor's thread, :meth:`poll` on the supervisor's.

    Raised when the value has been outside for ``for_s`` seconds without a break, by the values' own stamps
    or, when no value comes, by the run's clock; cleared when it has been inside as long by its stamps.
    """

    def __init__(self, channel: str, spec: AlarmSpec) -> None:
        self.channel = channel
        self.is_raised = False
        self._spec = spec
        self._low = -math.inf if spec.low is None else spec.low
        self._high = math.inf if spec.high is None else spec.high
        self._for_ns = round(spec.for_s * 1e9)
        self._lock = threading.Lock()
        self._change_since_ns: int | None = None  # first stamp of a state that is not told yet
        self._value: float | None = None
        self._status = 0
        self._unit = ""
        self._found: list[Finding] = []

    def look(self, sample: ChannelSample) -> None:
        """Take one value."""
        value = None if sample.value is None else float(sample.value)
        self._unit = sample.unit
        self._take(sample.timestamp_ns, value, sample.status)

    def look_block(self, block: SampleBlock) -> None:
        """Take many values: the two ends of every run inside or outside decide."""
        if not len(block.values):
            return
        values = np.asarray(block.values, np.float64)
        outside = ~((values >= self._low) & (values <= self._high))
        if block.status is not None:
            outside |= (np.asarray(block.status) & _UNKNOWN) != 0
        changes = np.flatnonzero(np.diff(outside)) + 1
        ends = np.concatenate(([0], np.repeat(changes, 2), [len(values)]))
        ends[1::2] -= 1  # first and last index of each run, in turn
        self._unit = block.unit
        for k in ends.tolist():
            status = int(block.status[k]) if block.status is not None else 0
            self._take(int(block.timestamps_ns[k]), float(values[k]), status)

    def _is_outside(self, value: float | None, status: int) -> bool:
        return value is None or bool(status & _UNKNOWN) or not self._low <= value <= self._high

    def _take(self, timestamp_ns: int, value: float | None, status: int) -> None:
        with self._lock:
            is_outside = self._is_outside(value, status)
            self._value, self._status = value, status
            if is_outside is self.is_raised:
                self._change_since_ns = None
                return
            if self._change_since_ns is None:
                self._change_since_ns = timestamp_ns
            if timestamp_ns - self._change_since_ns >= self._for_ns:
                self._turn(timestamp_ns)

    def poll(self, now_ns: int) -> list[Finding]:
        """Return what is new; a channel last seen outside is raised when its time is over."""
        with self._lock:
            since_ns = self._change_since_ns
            if since_ns is not None and not self.is_raised and now_ns - since_ns >= self._for_ns:
                self._turn(now_ns)
            found, self._found = self._found, []
        return found

    def _turn(self, timestamp_ns: int) -> None:
        since_ns, self._change_since_ns = self._change_since_ns, None
        self.is_raised = not self.is_raised
        data: dict[str, Any] = {
            "channel": self.channel,
            "value": self._value if self._value is not None and math.isfinite(self._value) else None,
            "unit": self._unit,
            "status": self._status,
            "low": self._spec.low,
            "high": self._spec.high,
            "since_ns": since_ns,
        }
        if not self.is_raised:
            words = f"{self.channel} is back in its band: {self._value:g} {self._unit}".rstrip()
            self._found.append(
                Finding("info", "alarm_cleared", words, self.channel, data, timestamp_ns=timestamp_ns)
            )
            return
        ends = self._spec.on_failure is AlarmAction.SAFE_SHUTDOWN
        self._found.append(
            Finding(
                "error" if ends else self._spec.severity,
                "alarm",
                self._words(),
                self.channel,
                data,
                outcome=Outcome.CRASHED if ends else None,
                timestamp_ns=timestamp_ns,
            )
        )

    def _words(self) -> str:
        value, held = self._value, f" for {self._spec.for_s:g} s" if self._for_ns else ""
        if value is None or self._status & _UNKNOWN or math.isnan(value):
            flags = SampleStatus(self._status & _UNKNOWN)
            return f"{self.channel} has no value to trust{held} ({flags.name if flags else 'NaN'})"
        limit = f"below {self._low:g}" if value < self._low else f"above {self._high:g}"
        return f"{self.channel} is {value:g} {self._unit}, {limit}{held}"


__all__ = ["Alarm"]
