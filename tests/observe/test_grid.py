"""Nominal times: exact at any rate, and every tick is a row or missing."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import UsageError
from gapless.observe.grid import Grid
from gapless.observe.options import rate_of

NS = 1_000_000_000
RATES = st.one_of(
    st.integers(1, 5_000).map(Fraction),
    st.sampled_from([Fraction(30000, 1001), Fraction(60000, 1001), Fraction(1, 7), Fraction(1, 3600)]),
    st.fractions(Fraction(1, 100), Fraction(2_000)),
)
STEPS_NS = st.lists(st.integers(0, 3 * NS), min_size=1, max_size=60)


@given(rate=RATES, origin_ns=st.integers(-(2**40), 2**62), steps_ns=STEPS_NS)
def test_rows_and_missing_ticks_are_all_ticks(rate: Fraction, origin_ns: int, steps_ns: list[int]) -> None:
    """Against fractions without rounding: the ticks up to now are taken or missed, each once and in order."""
    grid = Grid(rate)
    grid.start(origin_ns)
    now_ns, rows, missed, next_tick = origin_ns, 0, 0, 0
    for step_ns in steps_ns:
        now_ns += step_ns
        due = newest_tick(now_ns - origin_ns, rate) + 1
        tick = grid.take(now_ns)
        if tick is None:
            assert due == next_tick
            continue
        assert tick.missed == due - next_tick - 1
        assert tick.first_missed_ns == origin_ns + floor_ns(next_tick, rate)
        assert tick.time_ns == origin_ns + floor_ns(due - 1, rate)
        assert tick.first_missed_ns <= tick.time_ns <= now_ns
        rows, missed, next_tick = rows + 1, missed + tick.missed, due
    assert rows + missed == next_tick == newest_tick(now_ns - origin_ns, rate) + 1


def floor_ns(tick: int, rate: Fraction) -> int:
    """Return when a tick is after the first one."""
    return math.floor(tick * NS / rate)


def newest_tick(elapsed_ns: int, rate: Fraction) -> int:
    """Return the last tick that is not later than this, by trying."""
    guess = math.floor(elapsed_ns * rate / NS)
    while floor_ns(guess + 1, rate) <= elapsed_ns:
        guess += 1
    return guess


@given(rate=RATES, tick=st.integers(0, 10**9))
def test_no_tick_drifts(rate: Fraction, tick: int) -> None:
    """After any number of ticks the time is exact to the nanosecond, and asking at that very time finds it."""
    grid = Grid(rate)
    grid.start(17)
    at_ns = grid.time_of(tick)
    assert 0 <= 17 + tick * NS / rate - at_ns < 1
    found = grid.take(at_ns)
    assert found is not None
    assert found.time_ns == at_ns
    assert found.missed == tick
    assert grid.take(at_ns) is None


def test_ntsc_has_30000_pictures_in_1001_seconds() -> None:
    """29.97 is a decimal, 30000/1001 is the rate of the standard; both are exact."""
    grid = Grid(rate_of("30000/1001", "video_hz"))
    grid.start(0)
    assert grid.time_of(30_000) == 1001 * NS
    grid = Grid(rate_of(29.97, "video_hz"))
    grid.start(0)
    assert grid.time_of(2_997) == 100 * NS


def test_before_the_origin_no_tick_is_due() -> None:
    """A grid that begins later takes nothing, and the origin is its first tick."""
    grid = Grid(Fraction(10))
    grid.start(1_000)
    assert grid.take(999) is None
    found = grid.take(1_000)
    assert found is not None
    assert (found.time_ns, found.missed) == (1_000, 0)


def test_a_restart_counts_anew() -> None:
    """Nothing of the old grid is missing in the new one."""
    grid = Grid(Fraction(10))
    grid.start(0)
    assert grid.take(0) is not None
    grid.start(5 * NS)
    found = grid.take(5 * NS)
    assert found is not None
    assert (found.time_ns, found.missed) == (5 * NS, 0)


@pytest.mark.parametrize("bad", [0, -1, True, "fast", "1/0", float("nan"), float("inf"), None, [], "-30"])
def test_what_is_no_rate_is_refused(bad: object) -> None:
    """With the name of the argument."""
    with pytest.raises(UsageError) as refused:
        rate_of(bad, "data_hz")
    assert refused.value.field == "data_hz"


@pytest.mark.parametrize(
    ("given_", "exact"),
    [
        (30, Fraction(30)),
        (29.97, Fraction(2997, 100)),
        ("30000/1001", Fraction(30000, 1001)),
        (Fraction(1, 3), Fraction(1, 3)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_rates_are_exact(given_: object, exact: Fraction) -> None:
    """As they are written down."""
    assert rate_of(given_, "data_hz") == exact
