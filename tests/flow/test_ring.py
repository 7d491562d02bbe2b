"""Rings for plots: bounded, in order of time, and no spike disappears."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import NotFound, UsageError, ValueRefused
from gapless.flow.ring import RingBuffer, RingBufferRegistry

from .patience import PATIENCE_S, until

S = 1_000_000_000


def test_a_ring_keeps_few_points_and_all_spikes() -> None:
    """Ten seconds at 10 kHz become at most 600 points; one spike up and one down are among them."""
    t = np.arange(100_000, dtype=np.int64) * (S // 10_000)
    v = np.where(np.arange(len(t)) % 2, 1.0, -1.0)
    v[40_001], v[77_777] = 9.0, -9.0
    for push_all in (True, False):
        ring = RingBuffer(10.0)
        if push_all:
            ring.push_block(t, v)
        else:
            for time_ns, value in zip(t.tolist(), v.tolist(), strict=True):
                ring.push(time_ns, value)
        times, values = ring.arrays()
        assert times.dtype == np.int64
        assert 500 < len(times) <= 600
        assert (np.diff(times) >= 0).all()
        assert times[values == 9.0].tolist() == [t[40_001]]
        assert times[values == -9.0].tolist() == [t[77_777]]
        assert ring.last == (int(t[-1]), 1.0)


def test_points_slower_than_the_buckets_are_all_kept() -> None:
    """A channel at 5 Hz is plotted as it is."""
    ring = RingBuffer(10.0)
    for k in range(40):
        ring.push(k * S // 5, float(k))
    times, values = ring.arrays()
    assert values.tolist() == [float(k) for k in range(40)]
    assert times.tolist() == [k * S // 5 for k in range(40)]


def test_what_is_older_than_the_window_goes() -> None:
    """Only the window before the latest point is returned, also after a pause."""
    ring = RingBuffer(2.0)
    for k in range(100):
        ring.push(k * S // 10, float(k))
    times, _ = ring.arrays()
    assert times.min() > times.max() - 2 * S
    assert len(times) == 20
    ring.push(60 * S, 1.0)
    assert ring.arrays()[0].tolist() == [60 * S]


def test_a_late_point_joins_its_time_and_a_clock_far_back_starts_anew() -> None:
    """A point late by less than the window is sorted in; one from long before replaces everything."""
    ring = RingBuffer(10.0)
    ring.push(100 * S, 1.0)
    ring.push(102 * S, 2.0)
    ring.push(101 * S, 3.0)
    assert ring.arrays()[1].tolist() == [1.0, 3.0, 2.0]
    assert ring.last == (101 * S, 3.0)
    ring.push(5 * S, 4.0)
    ring.push(6 * S, 5.0)
    assert ring.arrays()[1].tolist() == [4.0, 5.0]


def test_not_a_number_gives_way_to_numbers() -> None:
    """NaN is kept where it is alone, once."""
    ring = RingBuffer(10.0)
    ring.push(0, float("nan"))
    assert np.isnan(ring.arrays()[1]).tolist() == [True]
    ring.push(1, 5.0)
    ring.push(2, float("nan"))
    ring.push_block([3, 4], [float("nan"), 4.0])
    ring.push_block([5], [float("nan")])
    assert ring.arrays()[1].tolist() == [5.0, 4.0]


def test_blocks_that_do_not_fit_together_are_refused() -> None:
    """Times and values of different length; an empty block changes nothing."""
    ring = RingBuffer(10.0)
    with pytest.raises(ValueRefused):
        ring.push_block([1, 2], [1.0])
    ring.push_block([], [])
    assert ring.last is None
    assert len(ring.arrays()[0]) == 0


@pytest.mark.parametrize(("window_s", "max_hz"), [(0.0, 60.0), (-1.0, 60.0), (10.0, 0.0), (0.01, 60.0)])
def test_a_ring_without_room_is_refused(window_s: float, max_hz: float) -> None:
    """Also by the registry, before any point."""
    with pytest.raises(UsageError):
        RingBuffer(window_s, max_hz)
    with pytest.raises(UsageError):
        RingBufferRegistry(window_s, max_hz)


@settings(max_examples=150, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(-(10**10), 10**10), st.integers(-5, 5)), min_size=1, max_size=80),
    cut=st.integers(0, 80),
)
def test_extremes_of_the_window_are_exact(points: list[tuple[int, int]], cut: int) -> None:
    """However points come, in blocks or one by one, all that is shown was pushed, with the extremes."""
    ring = RingBuffer(60.0, 2.0)  # wider than all points: nothing leaves the window
    for t, v in points[:cut]:
        ring.push(t, float(v))
    ring.push_block([t for t, _ in points[cut:]], [float(v) for _, v in points[cut:]])
    times, values = ring.arrays()
    shown = list(zip(times.tolist(), values.tolist(), strict=True))
    assert set(shown) <= {(t, float(v)) for t, v in points}
    assert values.min() == min(v for _, v in points)
    assert values.max() == max(v for _, v in points)
    assert (np.diff(times) >= 0).all()
    assert len(shown) == len(set(shown)) <= 120


def test_a_registry_makes_a_ring_for_each_channel() -> None:
    """Points go to the ring of their channel; a channel without points is not found."""
    registry = RingBufferRegistry(10.0)
    registry.push("a", 1, 1.0)
    registry.push_block("b", [1, 2], [2.0, 3.0])
    assert registry.names() == ["a", "b"]
    assert registry.get("a").last == (1, 1.0)
    assert registry.get("b").last == (2, 3.0)
    with pytest.raises(NotFound):
        registry.get("c")


def test_a_ring_can_be_read_while_it_is_filled() -> None:
    """Another thread always sees points that belong together and are in order."""
    ring = RingBuffer(1.0)
    stop = threading.Event()

    def fill() -> None:
        k = 0
        while not stop.is_set():
            ring.push(k * 1_000_000, float(k))
            k += 1

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        until(lambda: ring.last is not None and ring.last[0] > S)
        for _ in range(300):
            times, values = ring.arrays()
            assert (times == values * 1_000_000).all()
            assert (np.diff(times) > 0).all()
            assert times[-1] - times[0] < S
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
