"""Saturation trips once, after its deadline, for what is stuck and for nothing else."""

from __future__ import annotations

import threading
import time

import pytest

from gapless.acquire.saturation import ProgressSignal, SaturationMonitor, Signal
from gapless.errors import BridgeClosed, UsageError
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy
from gapless.model.outcome import Outcome


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now_s


def test_a_held_signal_trips_once_after_the_deadline() -> None:
    """Not at the deadline itself, and not again while it goes on."""
    clock = Clock()
    began_s = clock.now_s
    monitor = SaturationMonitor(
        lambda: [Signal("bridge a", clock.now_s - began_s, "full")], 10.0, clock=clock
    )
    trips = []
    for second in range(31):
        clock.now_s = began_s + second
        trips += [(second, finding) for finding in monitor.poll()]
    ((second, finding),) = trips
    assert second == 11
    assert (finding.kind, finding.outcome) == ("saturation_deadline", Outcome.CRASHED_BUT_SEALED)
    assert finding.data == {"signal": "bridge a", "held_s": 11.0, "deadline_s": 10.0, "detail": "full"}


def test_signals_are_read_once_a_period() -> None:
    """However often the monitor is polled."""
    clock, reads = Clock(), []

    def signals() -> list[Signal]:
        reads.append(clock.now_s)
        return []

    monitor = SaturationMonitor(signals, 10.0, poll_s=1.0, clock=clock)
    for _ in range(25):
        monitor.poll()
        clock.now_s += 0.2
    assert len(reads) == 5


def test_a_break_begins_the_wait_anew() -> None:
    """Nine seconds, a moment of progress, nine seconds: nothing trips."""
    clock = Clock()
    held = {"s": 0.0}
    monitor = SaturationMonitor(lambda: [Signal("b", held["s"])], 10.0, clock=clock)
    for second in range(40):
        held["s"] = second % 10
        clock.now_s += 1
        assert monitor.poll() == []


def test_the_worst_signal_and_the_countdown_are_shown() -> None:
    """The live view sees which hop is stuck and how long the run still has."""
    clock = Clock()
    signals = [Signal("a", 2.0), Signal("b", 4.0), Signal("c", 0.0)]
    monitor = SaturationMonitor(lambda: signals, 10.0, clock=clock)
    assert monitor.to_json() == {"deadline_s": 10.0, "worst": None, "held_s": 0.0, "left_s": 10.0}
    monitor.poll()
    assert monitor.to_json() == {"deadline_s": 10.0, "worst": "b", "held_s": 4.0, "left_s": 6.0}
    signals.clear()
    clock.now_s += 1
    monitor.poll()
    assert (monitor.worst, monitor.left_s) == (None, 10.0)


@pytest.mark.parametrize(("deadline_s", "poll_s"), [(0, 1), (-1, 1), (10, 0), (10, -1), (float("nan"), 1)])
def test_lengths_of_nothing_are_refused(deadline_s: float, poll_s: float) -> None:
    """A deadline or period that is not above 0 is a mistake in the rig."""
    with pytest.raises(UsageError, match="has no length"):
        SaturationMonitor(list, deadline_s, poll_s=poll_s)


@pytest.mark.parametrize(
    ("depths", "counts", "held_s"),
    [
        ([0] * 30, [5] * 30, 0.0),  # nothing to do: standing still is no trouble
        ([9] * 30, list(range(30)), 0.0),  # always behind, always getting on
        ([9] * 30, [5] * 30, 29.0),
        ([9] * 20 + [0] + [9] * 9, [5] * 30, 9.0),  # drained in between
        ([9] * 30, [5] * 20 + [6] * 10, 9.0),  # one commit in between
    ],
)
def test_a_writer_is_stuck_when_it_has_work_and_finishes_none(
    depths: list[int], counts: list[int], held_s: float
) -> None:
    """The depth alone says nothing, nor does the count alone."""
    clock = Clock()
    writer = ProgressSignal("writer", clock)
    for depth, count in zip(depths, counts, strict=True):
        signal = writer.read(depth, count)
        clock.now_s += 1
    assert signal.held_s == held_s


def test_a_real_bridge_whose_reader_is_gone_trips() -> None:
    """The producer waits on a full bridge; its wait is the signal, and ends with the first item taken."""
    bridge: ThreadBridge[int] = ThreadBridge("b", capacity=1, policy=BackpressurePolicy.BLOCK)
    bridge.put_nowait(0)
    ended: list[str] = []

    def produce() -> None:
        try:
            bridge.put_blocking(1, 60.0)
            bridge.put_blocking(2, 60.0)
        except BridgeClosed:
            ended.append("closed")

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    since_ns = waiting_since(bridge)

    def signals() -> list[Signal]:
        now = bridge.metrics().blocked_since_ns
        return [Signal("bridge b", 0.0 if now is None else 11.0 if now == since_ns else 0.5)]

    clock = Clock()
    monitor = SaturationMonitor(signals, 10.0, clock=clock)
    assert [finding.source for finding in monitor.poll()] == ["bridge b"]
    bridge.take_nowait(1)
    while bridge.metrics().blocked_since_ns in (since_ns, None):
        time.sleep(0.001)
    clock.now_s += 1
    monitor.poll()
    assert monitor.left_s == 9.5
    bridge.close()
    producer.join(60)
    assert ended == ["closed"]


def waiting_since(bridge: ThreadBridge[int]) -> int:
    """Return since when the bridge's producer waits, once it does."""
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        since_ns = bridge.metrics().blocked_since_ns
        if since_ns is not None:
            return since_ns
        time.sleep(0.001)
    raise AssertionError("the producer never waited")
