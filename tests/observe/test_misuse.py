"""A program that uses the observer wrongly is told so at once; what is missing is never without a gap."""

from __future__ import annotations

import dataclasses
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.observe.toy import (
    DT_NS,
    Eye,
    Toy,
    Wheel,
    World,
    column,
    gaps_of,
    outcomes,
    rows_of,
    run,
    started,
    toy,
)

import gapless
from gapless.errors import EpisodeFailed, SchemaChanged, TransitionRefused, UsageError
from gapless.observe import FrameFlag, Observer, StepContext
from gapless.observe.step import Phase

NARROW = pa.schema(
    [pa.field("angle", pa.float32(), nullable=False), pa.field("torque", pa.float32(), nullable=False)]
)
EPISODE = "s/episode-000000"


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def wheel_of(client: gapless.Client, **options: Any) -> tuple[World, Observer]:
    """Return a world and an observer at 100 Hz of its wheel alone."""
    world = World()
    return world, started(client, [toy(world, cameras=False)], **{"data_hz": 100, **options})


def record(client: gapless.Client, recorder: Any, world: World) -> str:
    """Record a session of one episode of three instants; return its name."""
    observer = started(client, [recorder], data_hz=100)
    name: str = observer.begin_episode()
    run(observer, world, 3)
    observer.end_episode()
    observer.end_session()
    return name


def flags_of(client: gapless.Client, name: str) -> list[int]:
    """Return ``frame_flags`` of all rows."""
    flags: list[int] = column(client, name, "frames", "frame_flags")
    return flags


# -- steps, phases and times -----------------------------------------------------------------------


def test_two_steps_of_one_number_are_refused(client: gapless.Client) -> None:
    """A program that does not count its steps would have one row of all of them."""
    _, observer = wheel_of(client)
    name = observer.begin_episode()
    observer.observe(0, 0)
    with pytest.raises(UsageError, match="two steps have one number"):
        observer.observe(0, DT_NS)
    observer.end_session()
    assert outcomes(client) == {name: "failed"}


def test_a_step_seen_twice_is_refused_in_real_time(client: gapless.Client) -> None:
    """There the time tells nothing, but that a hook read the step before does."""
    _, observer = wheel_of(client, mode="realtime")
    name = observer.begin_episode()
    observer.observe(0)
    with pytest.raises(UsageError, match="two steps have one number"):
        observer.observe(0)
    assert outcomes(client) == {name: "failed"}


@pytest.mark.parametrize("phase", ["ACQUIRE", "EXPORT", "", None])
def test_a_phase_that_is_none_is_refused(client: gapless.Client, phase: Any) -> None:
    """It is not taken for an export."""
    _, observer = wheel_of(client)
    observer.begin_episode()
    for hook in (observer.update_data, observer.update_video):
        with pytest.raises(UsageError, match="phase"):
            hook(StepContext(0, phase, 0))


def test_another_step_than_was_acquired_is_not_exported(client: gapless.Client) -> None:
    """The rows would have the number of a step nobody read."""
    _, observer = wheel_of(client)
    name = observer.begin_episode()
    observer.update_data(StepContext(0, Phase.ACQUIRE, 0))
    with pytest.raises(UsageError, match="was not acquired"):
        observer.update_data(StepContext(1000, Phase.EXPORT, 0))
    assert outcomes(client) == {name: "failed"}


def test_a_step_is_a_number(client: gapless.Client) -> None:
    """Of another step nobody could tell how many were left out."""
    _, observer = wheel_of(client)
    name = observer.begin_episode()
    step: Any = "x"
    observer.observe(0, 0)
    with pytest.raises((UsageError, EpisodeFailed)):
        observer.observe(step, DT_NS)
    assert outcomes(client) == {name: "failed"}


@pytest.mark.parametrize("time_ns", [0.0, 1e7, np.float64(3.0), "10"])
def test_a_time_is_whole_nanoseconds(client: gapless.Client, time_ns: Any) -> None:
    """Seconds times 1e9 lie a nanosecond before their tick now and then, and rows get another step's time."""
    _, observer = wheel_of(client)
    name = observer.begin_episode()
    with pytest.raises(UsageError, match="whole nanoseconds"):
        observer.observe(0, time_ns)
    assert outcomes(client) == {name: "failed"}


def test_a_time_may_be_an_integer_of_numpy(client: gapless.Client) -> None:
    """It is exact."""
    _, observer = wheel_of(client)
    name = observer.begin_episode()
    for step in range(3):
        time_ns: Any = np.int64(step * DT_NS)
        observer.observe(step, time_ns)
    observer.end_episode()
    assert column(client, name, "frames", "timestamp_ns") == [0, DT_NS, 2 * DT_NS]


# -- what was not recorded -------------------------------------------------------------------------


def test_a_session_that_recorded_nothing_warns(client: gapless.Client) -> None:
    """A forgotten begin_episode is not found weeks later."""
    world = World()
    observer = started(client, [toy(world)])
    run(observer, world, 3)
    with pytest.warns(UserWarning, match="recorded nothing: begin_episode"):
        observer.end_session()
    assert client.list_sequences() == []


def test_physics_steps_without_a_row_are_gaps(client: gapless.Client) -> None:
    """Steps that no hook saw and steps that were read and never handed over are missing, and are counted."""
    world = World()
    observer = started(client, [Toy("toy", [Wheel(world, every="step")])], data_hz=10)
    name = observer.begin_episode()
    for step in (step for step in range(40) if step % 4 != 1):
        world.step = step
        observer.update_data(StepContext(step, Phase.ACQUIRE, world.time_ns))
        if step % 4 != 2:
            observer.update_data(StepContext(step, Phase.EXPORT, world.time_ns))
    observer.end_episode()
    gaps = gaps_of(client, name, "wheel")
    assert {cause for cause, *_ in gaps} == {"hook not called"}
    assert [count for _, count, *_ in gaps] == [2] * 10
    assert len(rows_of(client, name, "wheel")) == 20


def test_the_row_after_a_hook_that_was_not_called_says_so(client: gapless.Client) -> None:
    """A reader of the flags alone must not take the two rows for neighbours."""
    world, observer = wheel_of(client)
    name = observer.begin_episode()
    for step in range(6):
        world.step = step
        observer.update_data(StepContext(step, Phase.ACQUIRE, world.time_ns))
        if step != 3:
            observer.update_data(StepContext(step, Phase.EXPORT, world.time_ns))
    observer.end_episode()
    assert flags_of(client, name) == [0, 0, 0, FrameFlag.AFTER_GAP, 0]
    assert gaps_of(client, name, "frames") == [("hook not called", 1, 3 * DT_NS, 3 * DT_NS)]


def test_a_stall_before_the_end_is_a_gap(client: gapless.Client) -> None:
    """In real time the ticks until the end count, whether or not a hook came for them."""
    _, observer = wheel_of(client, mode="realtime")
    name = observer.begin_episode()
    observer.observe(0)
    assert observer.sequence is not None
    stalled_until_ns = observer.sequence.now_ns() + 5 * DT_NS
    while observer.sequence.now_ns() < stalled_until_ns:
        assert observer.recording
    observer.end_episode()
    [row_ns] = column(client, name, "frames", "timestamp_ns")
    [(cause, count, start_ns, end_ns)] = gaps_of(client, name, "frames")
    assert cause == "late"
    assert count is not None
    assert count >= 5
    assert (start_ns, end_ns) == (row_ns + DT_NS, row_ns + count * DT_NS)


def test_a_cap_counts_time_and_not_rows(client: gapless.Client) -> None:
    """Where two of three ticks are late a second is not three seconds long."""
    _, observer = wheel_of(client, data_hz=30, max_episode_s=1)
    name = observer.begin_episode()
    steps = 0
    while observer.recording and steps < 100:
        observer.observe(steps, steps * 10 * DT_NS)
        steps += 1
    assert column(client, name, "frames", "timestamp_ns")[-1] <= 1_000_000_000
    assert steps == 12
    assert column(client, name, "episode", "reason") == ["duration_cap"]


def test_a_cap_holds_where_only_pictures_are_recorded(client: gapless.Client) -> None:
    """No row is ever written there."""
    world = World()
    observer = started(client, [toy(world)], data_hz=30, max_episode_s=1)
    observer.begin_episode()
    for world.step in range(0, 200, 10):
        for phase in Phase:
            observer.update_video(StepContext(world.step, phase, world.time_ns))
    assert not observer.recording


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("success", ["no", "false", "", 0, 1, float("nan"), np.float64(1), [False]])
def test_success_is_no_word_or_number(client: gapless.Client, success: Any) -> None:
    """ "no" is not yes; the episode is still open, and can be ended rightly."""
    world, observer = wheel_of(client)
    name = observer.begin_episode()
    run(observer, world, 2)
    with pytest.raises(UsageError, match="success is True, False or None"):
        observer.end_episode(success)
    observer.end_episode(success=False)
    assert column(client, name, "episode", "success") == [False]


@pytest.mark.parametrize("success", [True, False, None])
def test_success_may_be_a_truth_of_numpy(client: gapless.Client, success: bool | None) -> None:
    """It is what a comparison of arrays gives."""
    world, observer = wheel_of(client)
    name = observer.begin_episode()
    run(observer, world, 2)
    given: Any = None if success is None else np.bool_(success)
    observer.end_episode(given)
    assert column(client, name, "episode", "success") == [success]


@pytest.mark.parametrize("hz", [1e12, "1e30", 10**10])
def test_a_rate_has_a_limit(client: gapless.Client, hz: Any) -> None:
    """There are no two ticks within a nanosecond; each step would miss thousands of millions of them."""
    with pytest.raises(UsageError, match="at most one per nanosecond"):
        Observer(client, [], data_hz=hz)


@pytest.mark.parametrize(
    "limits", [{"max_episode_s": float("inf")}, {"max_episode_s": float("nan")}, {"total_episodes": 2.5}]
)
def test_limits_are_finite_and_whole(client: gapless.Client, limits: dict[str, Any]) -> None:
    """They are refused when the observer is made."""
    with pytest.raises(UsageError):
        Observer(client, [], **limits)


@pytest.mark.parametrize("seed", ["abc", 2.5, [1]])
def test_a_seed_that_is_no_number_costs_no_episode(client: gapless.Client, seed: Any) -> None:
    """The number of the episode is not burnt."""
    _, observer = wheel_of(client)
    with pytest.raises(UsageError, match="whole number"):
        observer.begin_episode(seed=seed)
    assert observer.begin_episode() == EPISODE


def test_a_seed_may_be_an_integer_of_numpy(client: gapless.Client) -> None:
    """It is recorded as what it is."""
    _, observer = wheel_of(client)
    seed: Any = np.int64(3)
    name = observer.begin_episode(seed=seed)
    assert client.sequence_handler(name).metadata["episode"]["seed"] == 3


def test_a_program_sets_only_the_flags_that_are_its_own(client: gapless.Client) -> None:
    """One before the episode would be forgotten; that a picture is repeated only the observer can know."""
    world, observer = wheel_of(client)
    with pytest.raises(TransitionRefused):
        observer.flag(FrameFlag.NEW_POLICY_STEP)
    name = observer.begin_episode()
    foreign: Any = 512
    for flag in (FrameFlag.BACKFILLED, FrameFlag.REPEATED_IMAGE, FrameFlag.AFTER_GAP, foreign):
        with pytest.raises(UsageError, match="cannot set this flag"):
            observer.flag(flag)
    run(observer, world, 2)
    observer.end_episode()
    assert flags_of(client, name) == [0, 0]


@pytest.mark.parametrize("mode", ["simulated", "realtime"])
def test_a_reset_before_the_first_row_has_its_time(client: gapless.Client, mode: str) -> None:
    """The event is not in 1970."""
    _, observer = wheel_of(client, mode=mode)
    name = observer.begin_episode()
    observer.soft_reset()
    observer.observe(0, 10**15)
    observer.end_episode()
    assert (
        column(client, name, "_events", "timestamp_ns") == column(client, name, "frames", "timestamp_ns")[:1]
    )
    assert flags_of(client, name)[0] == FrameFlag.POST_RESET


# -- versions and names ----------------------------------------------------------------------------


def test_a_version_has_one_fingerprint_over_all_episodes(client: gapless.Client) -> None:
    """Not only the newest episode is compared: version 1 was something else two episodes ago."""
    world = World()
    record(client, toy(world, cameras=False), world)
    record(client, toy(world, cameras=False, version=2, schema=NARROW), world)
    with pytest.raises(SchemaChanged):
        record(client, toy(world, cameras=False, version=1, schema=NARROW), world)
    assert len(client.list_sequences()) == 2


def test_an_episode_without_the_topic_does_not_hide_its_version(client: gapless.Client) -> None:
    """The last episode that had it is compared."""
    world = World()
    record(client, toy(world, cameras=False), world)
    record(client, Toy("other", [Wheel(world, "other")]), world)
    with pytest.raises(SchemaChanged):
        record(client, toy(world, cameras=False, schema=NARROW), world)


def test_a_fingerprint_holds_what_a_picture_means(client: gapless.Client) -> None:
    """A depth in metres is another topic than one in millimetres."""
    world = World()
    eyes = [Eye(world, "depth", media="png") for _ in range(2)]
    for eye, unit in zip(eyes, ("mm", "m"), strict=True):
        eye.spec = dataclasses.replace(eye.spec, metadata={"unit": unit})
    record(client, Toy("depth", [], eyes[:1]), world)
    with pytest.raises(SchemaChanged):
        record(client, Toy("depth", [], eyes[1:]), world)


@pytest.mark.parametrize(
    ("one", "other"), [("Pick", "pick"), ("caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9"))]
)
def test_a_session_beside_one_that_differs_in_writing_records(
    client: gapless.Client, one: str, other: str
) -> None:
    """Their episodes share the numbers, because no two sequences may differ in writing only."""
    names = []
    for session in (one, other):
        world = World()
        with Observer(client, [toy(world, cameras=False)], data_hz=100) as observer:
            observer.start_session(session)
            observer.tick()
            names.append(observer.begin_episode())
            run(observer, world, 2)
    assert names == [f"{one}/episode-000000", f"{other}/episode-000001"]
    assert set(outcomes(client).values()) == {"completed"}


def test_a_foreign_sequence_among_the_episodes_is_no_obstacle(client: gapless.Client) -> None:
    """Its metadata may hold anything under "episode"."""
    with client.sequence_create(EPISODE, {"episode": "a string"}):
        pass
    _, observer = wheel_of(client)
    assert observer.begin_episode() == "s/episode-000001"


def test_two_observers_of_one_session_never_want_one_number(client: gapless.Client, tmp_path: Path) -> None:
    """Neither fails, and the number of a discarded episode stays unused, whoever discarded it."""
    other = gapless.connect(tmp_path / "store")
    (world, first), (_, second) = wheel_of(client), wheel_of(other)
    assert first.begin_episode() == EPISODE
    run(first, world, 3)
    first.discard_episode("bad")
    for number in (1, 2):
        assert second.begin_episode() == f"s/episode-{number:06d}"
        second.observe(0, 0)
        second.end_episode()
    assert first.begin_episode() == "s/episode-000003"
    assert first.last_error is None
