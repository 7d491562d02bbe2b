"""Silence deadlines and alarm bands: what is found, when, and what it does to the run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gapless.acquire.channel import AlarmAction, read_channels
from gapless.acquire.clock import SimulatedClock
from gapless.acquire.device_config import DeviceConfig, OnFailure
from gapless.acquire.emission import ChannelSample, Reading, SampleBlock, SampleStatus, SourceRecord
from gapless.acquire.finding import Finding
from gapless.acquire.safety import SafetyMonitor, silence_deadline_s
from gapless.model.outcome import Outcome

S = 1_000_000_000


class Bench:
    """A monitor with clocks that a test moves, and devices that speak when it says so."""

    def __init__(self, alarm: dict[str, Any] | None = None, **config: Any) -> None:
        self.now_s = 50.0
        self.clock = SimulatedClock()
        self.held_up: set[str] = set()
        self.n = 0
        channels = read_channels(
            [
                {"name": "t", "device": "d", "field": "t", "unit": "degC", "alarm": alarm},
                {"name": "quiet", "device": "e", "field": "q", "unit": "1"},
                {
                    "name": "sum",
                    "derived": {"function": "sum", "inputs": ["t", "quiet"], "max_age_s": 1},
                    "unit": "1",
                    "alarm": alarm,
                },
            ]
        )
        self.monitor = SafetyMonitor(
            {name: DeviceConfig(adapter="x", **config) for name in ("d", "e")},
            channels,
            self.clock,
            rates_hz={"d": 10.0, "e": 0.1},
            held_up=lambda device: device in self.held_up,
            monotonic=lambda: self.now_s,
        )

    def pass_s(self, seconds: float) -> list[Finding]:
        """Let time go by and poll."""
        self.now_s += seconds
        self.clock.advance_to(self.clock.now_ns() + round(seconds * S))
        return self.monitor.poll()

    def sample(self, value: float | None, status: int = 0, channel: str = "t") -> ChannelSample:
        """Return a sample of now."""
        return ChannelSample(channel, self.clock.now_ns(), value, "degC", f"x:d:{self.n}", status=status)

    def reading(self, device: str, *samples: Any) -> Reading:
        """Return a reading of now."""
        self.n += 1
        record = SourceRecord("x", device, self.n, self.clock.now_ns(), 0, (), len(samples))
        return Reading(record, list(samples))

    def give(self, value: float | None, status: int = 0) -> list[Finding]:
        """Let the device give one value of ``t``, and poll."""
        self.monitor.observe(self.reading("d", self.sample(value, status)))
        return self.monitor.poll()


def kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    """Return kind and source of each finding."""
    return [(finding.kind, finding.source) for finding in findings]


# -- silence --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "rate_hz", "expected"),
    [(3.0, 10.0, 3.0), (None, 10.0, 5.0), (None, 0.5, 20.0), (None, 0.0, None), (1.0, 0.0, 1.0)],
)
def test_how_long_a_device_may_be_silent(given: float | None, rate_hz: float, expected: float | None) -> None:
    """What its table says; else ten periods, at least 5 s; else there is no telling."""
    config = DeviceConfig(adapter="x", silence_deadline_s=given)
    assert silence_deadline_s(config, rate_hz) == expected


def test_a_silent_device_ends_the_run() -> None:
    """Once, as a crash; the other device may be silent for longer."""
    bench = Bench()
    assert bench.pass_s(5.0) == []
    (finding,) = bench.pass_s(0.5)
    assert (finding.kind, finding.source, finding.severity) == ("device_silent", "d", "error")
    assert finding.outcome is Outcome.CRASHED
    assert finding.data == {"silent_s": 5.5, "deadline_s": 5.0}
    assert bench.pass_s(60.0) == []
    assert kinds(bench.pass_s(60.0)) == [("device_silent", "e")]
    assert bench.monitor.silent_devices == ["d", "e"]


def test_a_device_may_be_silent_by_leave() -> None:
    """on_failure = warn: an event, and another one when it is back."""
    bench = Bench(on_failure=OnFailure.WARN, silence_deadline_s=2.0)
    bench.monitor.heard("e")
    found = bench.pass_s(2.5)
    assert [(f.severity, f.ends_run) for f in found] == [("warning", False)] * 2
    bench.monitor.observe(bench.reading("d"))
    bench.monitor.heard("e")
    assert kinds(bench.monitor.poll()) == [("device_back", "d"), ("device_back", "e")]
    assert kinds(bench.pass_s(2.5)) == [("device_silent", "d"), ("device_silent", "e")]


def test_a_device_that_speaks_is_never_silent() -> None:
    """Each reading begins its deadline anew."""
    bench = Bench(silence_deadline_s=2.0)
    for _ in range(20):
        bench.monitor.heard("e")
        assert bench.give(1.0) == []
        assert bench.pass_s(1.9) == []


def test_a_device_that_is_held_up_is_not_silent() -> None:
    """While its readings wait behind a slow disk it is not heard; its silence counts from when they are through."""
    bench = Bench(silence_deadline_s=2.0)
    bench.held_up = {"d", "e"}
    for _ in range(20):
        assert bench.pass_s(1.5) == []
    bench.held_up = set()
    assert bench.pass_s(1.0) == []
    assert kinds(bench.pass_s(2.0)) == [("device_silent", "d"), ("device_silent", "e")]


def test_a_device_whose_stream_is_over_may_be_silent() -> None:
    """A recording of a finite source does not crash at its end."""
    bench = Bench(silence_deadline_s=2.0)
    bench.monitor.ended("d")
    assert kinds(bench.pass_s(9.0)) == [("device_silent", "e")]
    bench.monitor.ended("e")
    assert bench.pass_s(9.0) == []


# -- alarms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "words"), [(9.0, "below 10"), (601.0, "above 600")])
def test_a_value_outside_the_band_is_an_alarm(value: float, words: str) -> None:
    """At once without a debounce, and once; back in the band it is cleared."""
    bench = Bench({"low": 10.0, "high": 600.0})
    assert bench.give(300.0) == []
    (finding,) = bench.give(value)
    assert (finding.kind, finding.source, finding.severity) == ("alarm", "t", "warning")
    assert finding.message == f"t is {value:g} degC, {words}"
    assert not finding.ends_run
    assert bench.give(value) == []
    (cleared,) = bench.give(600.0)
    assert (cleared.kind, cleared.severity) == ("alarm_cleared", "info")
    assert bench.give(600.0) == []


def test_an_alarm_may_end_the_run() -> None:
    """on_failure = safe_shutdown: an error, and the run crashes into its safe state."""
    bench = Bench({"high": 600.0, "severity": "info", "on_failure": AlarmAction.SAFE_SHUTDOWN})
    (finding,) = bench.give(601.0)
    assert (finding.severity, finding.outcome) == ("error", Outcome.CRASHED)
    assert finding.data["value"] == 601.0


def test_a_short_excursion_is_debounced() -> None:
    """Outside for less than for_s is nothing; the count begins anew with every value inside."""
    bench = Bench({"high": 600.0, "for_s": 3.0}, silence_deadline_s=1e6)
    for _ in range(5):
        assert bench.give(700.0) == []
        assert bench.pass_s(2.9) == []
        assert bench.give(500.0) == []
        assert bench.pass_s(1.0) == []
    since_ns = bench.clock.now_ns()
    assert bench.give(700.0) == []
    bench.pass_s(2.0)
    assert bench.give(700.0) == []
    bench.now_s += 1
    bench.clock.advance_to(since_ns + 3 * S)
    (finding,) = bench.give(700.0)
    assert finding.message == "t is 700 degC, above 600 for 3 s"
    assert (finding.timestamp_ns, finding.data["since_ns"]) == (since_ns + 3 * S, since_ns)


def test_clearing_is_debounced_too() -> None:
    """An alarm on the edge does not flap."""
    bench = Bench({"high": 600.0, "for_s": 1.0}, silence_deadline_s=1e6)
    bench.give(700.0)
    assert kinds(bench.pass_s(1.0)) == [("alarm", "t")]
    for _ in range(5):
        assert bench.give(599.0) == []
        assert bench.pass_s(0.9) == []
        assert bench.give(601.0) == []
    bench.give(599.0)
    bench.pass_s(1.0)
    assert kinds(bench.give(599.0)) == [("alarm_cleared", "t")]


def test_a_channel_last_seen_outside_is_outside() -> None:
    """No further value comes: the alarm is raised when its time is over, by the run's clock."""
    bench = Bench({"high": 600.0, "for_s": 3.0}, silence_deadline_s=1e6)
    bench.give(700.0)
    assert bench.pass_s(2.9) == []
    assert kinds(bench.pass_s(0.1)) == [("alarm", "t")]


@pytest.mark.parametrize(
    ("value", "status", "word"),
    [
        (math.nan, SampleStatus.NOT_FINITE, "NOT_FINITE"),
        (math.nan, SampleStatus.OK, "NaN"),
        (None, SampleStatus.DEVICE_INVALID, "DEVICE_INVALID"),
        (300.0, SampleStatus.DEVICE_INVALID, "DEVICE_INVALID"),
        (300.0, SampleStatus.STALE, "STALE"),
        (300.0, SampleStatus.CLAMPED | SampleStatus.ABOVE_RANGE, "CLAMPED"),
    ],
)
def test_a_value_that_is_not_known_is_an_alarm(value: float | None, status: int, word: str) -> None:
    """A watched channel that turns NaN, invalid, stale or clamped does not stay silent."""
    bench = Bench({"high": 600.0})
    (finding,) = bench.give(value, int(status))
    assert finding.kind == "alarm"
    assert finding.message == f"t has no value to trust ({word})"
    assert finding.data["value"] == (value if value is not None and math.isfinite(value) else None)
    assert kinds(bench.give(300.0)) == [("alarm_cleared", "t")]


@pytest.mark.parametrize("status", [SampleStatus.ABOVE_RANGE, SampleStatus.BELOW_RANGE])
def test_a_value_out_of_its_declared_range_is_compared_as_it_is(status: int) -> None:
    """The range flags alone say nothing against the value."""
    bench = Bench({"high": 600.0})
    assert bench.give(300.0, int(status)) == []
    assert kinds(bench.give(700.0, int(status))) == [("alarm", "t")]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_outside(value: float) -> None:
    """Also of a band that is open on that side, as its status says that it is not finite."""
    bench = Bench({"high": 600.0})
    assert kinds(bench.give(value, int(SampleStatus.NOT_FINITE))) == [("alarm", "t")]


def test_channels_without_an_alarm_are_passed_over() -> None:
    """Of a device with an alarm and of one without."""
    bench = Bench({"high": 600.0})
    bench.monitor.observe(bench.reading("d", bench.sample(9e9, channel="other")))
    bench.monitor.observe(bench.reading("e", bench.sample(9e9, channel="quiet")))
    assert bench.monitor.poll() == []


def test_a_derived_channel_is_watched() -> None:
    """Its samples belong to no reading."""
    bench = Bench({"high": 600.0})
    bench.monitor.observe_sample(bench.sample(601.0, channel="sum"))
    bench.monitor.observe_sample(bench.sample(601.0, channel="unknown"))
    assert kinds(bench.monitor.poll()) == [("alarm", "sum")]


def block(values: list[float], status: list[int] | None = None, start_ns: int = 0) -> SampleBlock:
    """Return a block of samples 1 ms apart."""
    stamps = start_ns + np.arange(len(values), dtype=np.int64) * 1_000_000
    flags = None if status is None else np.array(status, np.int8)
    return SampleBlock("t", stamps, np.array(values), "degC", "x:d:0", status=flags)


@pytest.mark.parametrize("for_ms", [0, 1, 3, 10])
def test_a_block_is_watched_like_its_samples(for_ms: int) -> None:
    """Random walks in blocks of any length give the findings that they give one by one."""
    rng = np.random.default_rng(7)
    by_block, by_sample = (Bench({"low": -3.0, "high": 3.0, "for_s": for_ms / 1000}) for _ in range(2))
    start_ns, raised = 0, 0
    for length in rng.integers(0, 40, 60).tolist():
        values = np.round(rng.normal(0, 3, length), 2)
        values[rng.random(length) < 0.05] = np.nan
        status = np.where(rng.random(length) < 0.05, int(SampleStatus.CLAMPED), 0)
        given = block(values.tolist(), status.tolist(), start_ns)
        by_block.monitor.observe(by_block.reading("d", given))
        for stamp, value, flag in zip(given.timestamps_ns, values, status, strict=True):
            one = ChannelSample("t", int(stamp), float(value), "degC", "x:d:0", status=int(flag))
            by_sample.monitor.observe(by_sample.reading("d", one))
        start_ns += length * 1_000_000
        expected, found = by_sample.monitor.poll(), by_block.monitor.poll()
        raised += len(expected)
        assert [(f.kind, f.data["since_ns"]) for f in found] == [
            (f.kind, f.data["since_ns"]) for f in expected
        ]
    assert raised > 5 or for_ms == 10


def test_an_excursion_inside_a_block_is_seen() -> None:
    """Raised and cleared in one block of good ends, both told."""
    bench = Bench({"high": 600.0})
    bench.monitor.observe(bench.reading("d", block([1.0, 2.0, 700.0, 3.0])))
    assert kinds(bench.monitor.poll()) == [("alarm", "t"), ("alarm_cleared", "t")]
