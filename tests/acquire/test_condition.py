"""Conditions: what they mean, what is refused, and when a wait on data is over."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.acquire.channel import ChannelSpec
from gapless.acquire.emission import ChannelSample, SampleBlock, SampleStatus
from gapless.acquire.procedure.condition import parse_condition
from gapless.acquire.procedure.waiting import ConditionWatch
from gapless.errors import RigRefused

CHANNELS = [
    ChannelSpec(name="heater_pv", device="d", field="a", unit="degC"),
    ChannelSpec(name="flow", device="d", field="b", unit="L/min"),
    ChannelSpec(name="oven/t 1", device="d", field="c", unit="degC"),
    ChannelSpec(name="heat", device="d", field="e", unit="J/(kg.K)"),
    ChannelSpec(name="open", device="d", field="f", dtype="bool"),
    ChannelSpec(name="count", device="d", field="g", dtype="int64"),
    ChannelSpec(name="mode", device="d", field="h", dtype="string"),
]
NS = 1_000_000_000


def sample(
    channel: str, value: float | bool | str | None, t_s: float = 0.0, status: int = 0
) -> ChannelSample:
    """Return a sample at a time in seconds."""
    return ChannelSample(channel, round(t_s * NS), value, "degC", "t:d:0", status=status)


def block(
    channel: str, values: list[float], step_s: float, begin_s: float = 0.0, status: list[int] | None = None
) -> SampleBlock:
    """Return a block of values at a steady pace."""
    stamps = np.array([round((begin_s + n * step_s) * NS) for n in range(len(values))], np.int64)
    flags = None if status is None else np.array(status, np.int8)
    return SampleBlock(channel, stamps, np.array(values), "degC", "t:d:0", status=flags)


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("heater_pv >= 580 degC", {"heater_pv": 580.0}, True),
        ("heater_pv > 580 degC", {"heater_pv": 580.0}, False),
        ("heater_pv>=580degC", {"heater_pv": 580.0}, True),
        ("heater_pv <= 300 K", {"heater_pv": 26.85}, True),
        ("heater_pv >= 300 K", {"heater_pv": 26.84}, False),
        ("heater_pv != 20", {"heater_pv": 21.0}, True),
        ("heater_pv >= 1e2 and flow < 2 L/min", {"heater_pv": 100.0, "flow": 1.0}, True),
        ("heater_pv >= 1e2 and flow < 2 L/min", {"heater_pv": 100.0, "flow": 3.0}, False),
        ("heater_pv >= 100 or flow < 2 and open == true", {"heater_pv": 100.0, "flow": 3.0}, True),
        ("(heater_pv >= 100 or flow < 2) and open == true", {"heater_pv": 100.0, "open": False}, False),
        ("heat > 4 J/(g.K) or open == false", {"heat": 4001.0}, True),
        ("(heat > 4 J/(g.K))", {"heat": 3999.0}, False),
        ("'oven/t 1' < 0", {"oven/t 1": -1.0}, True),
        ('mode == "ready and set"', {"mode": "ready and set"}, True),
        ("mode != 'ready'", {"mode": "x"}, True),
        ("count == 3", {"count": 3}, True),
        ("flow > 1 L/min and\n flow < 2000 mL/min", {"flow": 1.5}, True),
    ],
)
def test_a_condition_means_what_it_says(text: str, values: dict[str, object], holds: bool) -> None:
    """Units are converted to the channel's, `and` binds tighter than `or`, brackets group."""
    assert bool(parse_condition(text, CHANNELS).holds(values)) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("heater >= 580 degC", "no channel"),
        ("heater_pv >= 580 bar", "measure different things"),
        ("heater_pv >= 580 parsecs_per_fortnight", "no unit"),
        ("heater_pv >= hot", "no quantity"),
        ("heater_pv >=", "no quantity"),
        ("heater_pv 580", "comparison is missing"),
        ("heater_pv = 580", "comparison is missing"),
        ("", "name is missing"),
        ("heater_pv > 1 and", "name is missing"),
        ("(heater_pv > 1", "not closed"),
        ("heater_pv > 1)", "left over"),
        ("open >= true", "compare it with =="),
        ("open == 1", "true or false"),
        ("mode == ready", "text in quotes"),
        ("mode < 'a'", "compare it with =="),
    ],
)
def test_what_means_nothing_is_refused(text: str, words: str) -> None:
    """A condition that cannot be judged is refused when it is read, with what is wrong."""
    with pytest.raises(RigRefused, match=words):
        parse_condition(text, CHANNELS)


@given(st.text(alphabet="ab>=<!() 0123.\"'degCandorheater_pv", max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    """No text makes the parser do anything but return or refuse."""
    try:
        condition = parse_condition(text, CHANNELS)
    except RigRefused:
        return
    assert set(condition.channels) <= {spec.name for spec in CHANNELS}


@pytest.mark.parametrize("symbol", [">=", "<=", "==", "!=", ">", "<"])
@pytest.mark.parametrize("bad", [math.nan, None])
def test_a_bad_value_satisfies_nothing(symbol: str, bad: float | None) -> None:
    """NaN and a missing value never hold, also not under `!=`; neither does a flagged one."""
    text = f"heater_pv {symbol} 5"
    assert not ConditionWatch(parse_condition(text, CHANNELS)).feed(sample("heater_pv", bad))
    good = 4.0 if symbol in ("<", "<=", "!=") else 6.0 if symbol in (">", ">=") else 5.0
    for status in SampleStatus:
        watch = ConditionWatch(parse_condition(text, CHANNELS))
        assert not watch.feed(sample("heater_pv", good, status=status))
        assert not watch.feed(block("heater_pv", [good], 1.0, status=[int(status)]))
        assert not watch.feed(block("heater_pv", [math.nan], 1.0))
        assert watch.feed(sample("heater_pv", good))


def test_a_bad_value_takes_back_a_good_one() -> None:
    """What held before a bad value came holds no more: the last thing known is that it is not known."""
    watch = ConditionWatch(parse_condition("heater_pv > 1 and flow > 1", CHANNELS))
    assert not watch.feed(sample("heater_pv", 5.0))
    assert not watch.feed(sample("heater_pv", math.nan))
    assert not watch.feed(sample("flow", 5.0))
    assert watch.feed(sample("heater_pv", 5.0))


def test_it_must_hold_for_its_time_without_a_break() -> None:
    """The time counts from the first sample that holds and begins anew after one that does not."""
    watch = ConditionWatch(parse_condition("heater_pv > 1", CHANNELS), for_s=2.0)
    times = [(0.0, 2.0), (1.9, 2.0), (1.95, 0.0), (2.5, 2.0), (4.4, 2.0)]
    assert not any(watch.feed(sample("heater_pv", value, t_s)) for t_s, value in times)
    assert watch.feed(sample("heater_pv", 2.0, 4.5))


def test_one_channel_of_several_brings_the_answer() -> None:
    """With several channels the latest value of each counts, whichever comes last."""
    watch = ConditionWatch(parse_condition("heater_pv > 1 and flow > 1", CHANNELS), for_s=1.0)
    assert not watch.feed(sample("heater_pv", 2.0, 0.0))
    assert not watch.feed(sample("flow", 2.0, 5.0))
    assert not watch.feed(sample("heater_pv", 2.0, 5.5))
    assert watch.feed(sample("flow", 2.0, 6.0))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 2.0, math.nan]),
            st.sampled_from([0, 0, 0, 4]),
            st.sampled_from(["heater_pv", "flow"]),
        ),
        max_size=60,
    ),
    st.integers(0, 4),
    st.sampled_from(["heater_pv > 1", "heater_pv > 1 and flow > 1", "heater_pv > 1 or flow > 1"]),
    st.integers(1, 7),
)
def test_blocks_and_samples_give_the_same_answer(
    values: list[tuple[float, int, str]], for_s: int, text: str, size: int
) -> None:
    """A wait is over at the same value whether the values come one by one or in blocks."""
    condition = parse_condition(text, CHANNELS)
    single, blocked = ConditionWatch(condition, for_s), ConditionWatch(condition, for_s)
    runs: list[list[int]] = []
    for n, (_, _, channel) in enumerate(values):
        if runs and values[runs[-1][0]][2] == channel and len(runs[-1]) < size:
            runs[-1].append(n)
        else:
            runs.append([n])
    for run in runs:
        channel = values[run[0]][2]
        one_by_one = [single.feed(sample(channel, values[n][0], n, values[n][1])) for n in run]
        at_once = blocked.feed(
            block(channel, [values[n][0] for n in run], 1.0, run[0], [values[n][1] for n in run])
        )
        assert at_once == any(one_by_one)
        if at_once:
            return
