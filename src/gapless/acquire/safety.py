"""Silence and alarms: devices that give nothing for too long, and channels outside their band."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from gapless.acquire.alarm import Alarm
from gapless.acquire.channel import ChannelSpec, device_of
from gapless.acquire.device_config import DeviceConfig, OnFailure
from gapless.acquire.emission import ChannelSample, Reading, SampleBlock
from gapless.acquire.finding import Finding
from gapless.acquire.pushed import PushedDevice
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.acquire.adapter import Adapter
    from gapless.acquire.clock import RunClock

_PERIODS = 10
_MIN_SILENCE_S = 5.0


def steady_rate_hz(adapter: Adapter) -> float:
    """Return how often a device must speak; 0 for one that speaks when it has something to say."""
    return 0.0 if isinstance(adapter, PushedDevice) else adapter.expected_rate_hz


def silence_deadline_s(config: DeviceConfig, expected_rate_hz: float) -> float | None:
    """Return how long a device may give nothing: what its table says, else ten periods, at least 5 s.

    None for a device that says neither how often it speaks nor how long it may be silent.
    """
    if config.silence_deadline_s is not None:
        return config.silence_deadline_s
    return max(_MIN_SILENCE_S, _PERIODS / expected_rate_hz) if expected_rate_hz > 0 else None


class SafetyMonitor:
    """Hears every reading on the conductor's thread and is polled on the supervisor's.

    ``rates_hz``: how often each device is expected to give something. ``held_up`` tells whether readings of
    a device wait in front of the conductor: it is then not silent, only not heard.
    """

    def __init__(
        self,
        configs: Mapping[str, DeviceConfig],
        channels: Sequence[ChannelSpec],
        clock: RunClock,
        *,
        rates_hz: Mapping[str, float],
        held_up: Callable[[str], bool] = lambda _device: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._declared_s = {
            name: silence_deadline_s(config, rates_hz.get(name, 0.0)) for name, config in configs.items()
        }
        self.deadlines_s = dict(self._declared_s)
        self._on_failure = {name: config.on_failure for name, config in configs.items()}
        self._clock = clock
        self._held_up = held_up
        self._monotonic = monotonic
        known = {spec.name: spec for spec in channels}
        self._alarms = {
            spec.name: Alarm(spec.name, spec.alarm) for spec in channels if spec.alarm is not None
        }
        self._alarmed_devices = {device_of(known[name], known) for name in self._alarms}
        self._heard_s: dict[str, float] = {}
        self._silent: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """Let every device's silence count from now: its sampling begins."""
        now_s = self._monotonic()
        for device in self.deadlines_s:
            self._heard_s[device] = now_s

    # -- on the conductor's thread -------------------------------------------------------------

    def observe(self, reading: Reading) -> None:
        """Note a reading: its device is alive, its samples may raise or clear an alarm."""
        device = reading.record.device
        self._heard_s[device] = self._monotonic()
        if device not in self._alarmed_devices:
            return
        for sample in reading.samples:
            alarm = self._alarms.get(sample.channel)
            if alarm is None:
                continue
            if type(sample) is ChannelSample:
                alarm.look(sample)
            else:
                alarm.look_block(sample)  # type: ignore[arg-type]  # the other of the two kinds

    def observe_sample(self, sample: ChannelSample | SampleBlock) -> None:
        """Note a sample or block that belongs to no reading: a derived or an analyzer's channel."""
        alarm = self._alarms.get(sample.channel)
        if alarm is None:
            return
        if isinstance(sample, ChannelSample):
            alarm.look(sample)
        else:
            alarm.look_block(sample)

    def heard(self, device: str) -> None:
        """Note that a device gave something that is no reading, such as a frame."""
        self._heard_s[device] = self._monotonic()

    def ended(self, device: str) -> None:
        """Note that a device's stream is over: it may be silent from now on."""
        self.deadlines_s[device] = None
        self._silent.discard(device)

    def resumed(self, device: str) -> None:
        """Note that a device's stream, which was over, goes on: its silence counts from now."""
        self._heard_s[device] = self._monotonic()
        self.deadlines_s[device] = self._declared_s[device]

    @property
    def longest_deadline_s(self) -> float:
        """The longest that any device may give nothing; 0 where none has a deadline."""
        return max((deadline_s or 0.0 for deadline_s in self._declared_s.values()), default=0.0)

    # -- on the supervisor's thread ------------------------------------------------------------

    @property
    def silent_devices(self) -> list[str]:
        """The devices that were found silent and have not come back."""
        return sorted(self._silent)

    def poll(self) -> list[Finding]:
        """Return what is new: devices silent and back, alarms raised and cleared."""
        now_s, now_ns = self._monotonic(), self._clock.now_ns()
        found = [finding for device in self.deadlines_s for finding in self._changes(device, now_s)]
        return [*found, *(finding for alarm in self._alarms.values() for finding in alarm.poll(now_ns))]

    def _changes(self, device: str, now_s: float) -> list[Finding]:
        deadline_s = self.deadlines_s[device]
        silent_s = now_s - self._heard_s[device]
        is_silent = deadline_s is not None and silent_s > deadline_s
        if is_silent is (device in self._silent):
            return []
        if not is_silent:
            self._silent.discard(device)
            return [Finding("info", "device_back", f"{device} gives readings again", device)]
        if self._held_up(device):
            self._heard_s[device] = now_s
            return []
        self._silent.add(device)
        ends = self._on_failure[device] is OnFailure.CRASH
        words = f"{device} gave nothing for {silent_s:.1f} s; it may be silent for {deadline_s:g} s"
        data = {"silent_s": round(silent_s, 3), "deadline_s": deadline_s}
        severity, outcome = ("error", Outcome.CRASHED) if ends else ("warning", None)
        return [Finding(severity, "device_silent", words, device, data, outcome)]


__all__ = ["SafetyMonitor", "silence_deadline_s", "steady_rate_hz"]
