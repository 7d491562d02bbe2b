"""One instant for all recorders: which rows a step makes, what is said of them, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
from gapless.errors import EpisodeFailed, UsageError
from gapless.observe.step import Phase, StepContext
from gapless.store.episode_rows import FrameFlag

TOPICS = ("frames", "wheel", "eye", "eye/frames")


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def angles(steps: list[int]) -> list[float]:
    """Return the wheel's angles in these steps."""
    return [step / 64 for step in steps]


def test_all_recorders_see_one_instant(client: gapless.Client) -> None:
    """Sources that change between the phases and between the hooks of a step do not change its rows."""
    world = World()
    wheels = [Toy(f"toy{n}", [Wheel(world, f"wheel{n}")]) for n in range(3)]
    eye = Toy("eye", [], [Eye(world, media="png")])
    with started(client, [*wheels, eye], data_hz=100) as observer:
        name = observer.begin_episode()
        for step in range(6):
            world.step = step
            acquire, export = (StepContext(step, phase, step * DT_NS) for phase in Phase)
            observer.update_data(acquire)
            observer.update_video(acquire)
            world.step = 200
            observer.update_data(export)
            eye.cameras[0].picture = eye.cameras[0].picture.copy()
            observer.update_video(export)
            eye.cameras[0].picture[:] = 77  # the array is the camera's again
    for n in range(3):
        assert column(client, name, f"wheel{n}", "angle") == angles([*range(6)])
    pictures = [picture for _, picture in client.sequence_handler(name).topic("eye").frames()]
    assert [int(picture[0, 0]) for picture in pictures] == [*range(6)]
    assert {column(client, name, t, "timestamp_ns") == [n * DT_NS for n in range(6)] for t in TOPICS[2:]} == {
        True
    }


def test_values_may_be_overwritten_as_soon_as_the_hook_returns(client: gapless.Client) -> None:
    """Rows and pictures are the recorder's then."""
    world = World()
    recorder = Toy("toy", [Wheel(world)], [Eye(world, media="png")])
    with started(client, [recorder], data_hz=100) as observer:
        name = observer.begin_episode()
        for step in range(40):
            world.step = step
            observer.observe(step, world.time_ns)
            recorder.tables[0].row[0] = -1.0
            recorder.cameras[0].picture[:] = 9999
    assert column(client, name, "wheel", "angle") == angles([*range(40)])
    pictures = [picture for _, picture in client.sequence_handler(name).topic("eye").frames()]
    assert [set(np.unique(picture)) for picture in pictures] == [{step, 128} for step in range(40)]


def test_steps_between_two_ticks_make_no_row(client: gapless.Client) -> None:
    """Rows lie on the nominal grid, tell when they were captured, and no source is read for nothing."""
    world = World()
    steps, ticks = Wheel(world, "steps", every="step"), Wheel(world)
    recorder = Toy("toy", [steps, ticks], [Eye(world)])
    with started(client, [recorder], data_hz=30, video_hz="30000/1001") as observer:
        name = observer.begin_episode()
        run(observer, world, 100)
    at_ns = [k * 10**9 // 30 for k in range(30)]
    captured = [-(-t // DT_NS) * DT_NS for t in at_ns]
    assert column(client, name, "frames", "timestamp_ns") == at_ns
    assert column(client, name, "wheel", "timestamp_ns") == at_ns
    assert column(client, name, "frames", "captured_ns") == captured
    assert column(client, name, "frames", "frame_index") == [*range(30)]
    assert column(client, name, "wheel", "angle") == angles([t // DT_NS for t in captured])
    video_ns = [k * 10**9 * 1001 // 30000 for k in range(30)]
    assert column(client, name, "eye/frames", "timestamp_ns") == video_ns
    assert column(client, name, "eye", "timestamp_ns") == video_ns
    assert column(client, name, "eye/frames", "captured_ns") == [-(-t // DT_NS) * DT_NS for t in video_ns]
    assert column(client, name, "steps", "timestamp_ns") == [n * DT_NS for n in range(100)]
    assert (steps.reads, ticks.reads) == (100, 30)
    assert rows_of(client, name, "_gaps") == []


def test_an_episode_begins_at_its_first_step(client: gapless.Client) -> None:
    """The grid's origin is the time of the first hook, wherever simulation time begins."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        for step in (500, 501):
            world.step = step
            observer.observe(step, world.time_ns)
    for topic in TOPICS:
        assert column(client, name, topic, "timestamp_ns") == [500 * DT_NS, 501 * DT_NS]
    assert column(client, name, "tasks", "timestamp_ns") == [500 * DT_NS]


@pytest.mark.parametrize("mode", ["simulated", "mixed"])
def test_steps_that_are_too_long_leave_gaps(client: gapless.Client, mode: str) -> None:
    """Rows and missing ticks are all ticks, in every topic; the row after says so."""
    world = World()
    with started(client, [toy(world)], mode=mode, data_hz=100) as observer:
        name = observer.begin_episode()
        for step in (0, 1, 5, 6):
            world.step = step
            observer.observe(step, world.time_ns)
    for topic in TOPICS:
        assert gaps_of(client, name, topic) == [("late", 3, 2 * DT_NS, 5 * DT_NS)]
        assert column(client, name, topic, "timestamp_ns") == [n * DT_NS for n in (0, 1, 5, 6)]
    for topic in ("frames", "eye/frames"):
        assert column(client, name, topic, "frame_flags") == [0, 0, FrameFlag.AFTER_GAP, 0]
        assert column(client, name, topic, "frame_index") == [0, 1, 2, 3]


def test_hooks_that_are_not_called_leave_gaps(client: gapless.Client) -> None:
    """A tick whose row or picture was due is missing in that topic alone, also at the very end."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        for step in range(6):
            world.step = step
            for phase in Phase:
                context = StepContext(step, phase, world.time_ns)
                if step != 2:
                    observer.update_data(context)
                if step not in (3, 5) or phase is Phase.ACQUIRE:
                    observer.update_video(context)
    missing = [("hook not called", 1, 2 * DT_NS, 2 * DT_NS)]
    assert gaps_of(client, name, "frames") == gaps_of(client, name, "wheel") == missing
    missing = [("hook not called", 1, n * DT_NS, n * DT_NS) for n in (3, 5)]
    assert gaps_of(client, name, "eye") == gaps_of(client, name, "eye/frames") == missing
    assert column(client, name, "wheel", "angle") == angles([0, 1, 3, 4, 5])
    assert column(client, name, "eye/frames", "timestamp_ns") == [n * DT_NS for n in (0, 1, 2, 4)]


def test_what_was_read_for_one_step_is_never_the_row_of_another(client: gapless.Client) -> None:
    """An export without an acquire writes nothing, though an earlier step has read."""
    world = World()
    with started(client, [toy(world, cameras=False)], data_hz=100) as observer:
        name = observer.begin_episode()
        run(observer, world, 2)
        world.step = 2
        observer.update_data(StepContext(2, Phase.ACQUIRE, world.time_ns))
        world.step = 3
        observer.update_video(StepContext(3, Phase.ACQUIRE, world.time_ns))
        observer.update_data(StepContext(3, Phase.EXPORT, world.time_ns))
    assert column(client, name, "wheel", "angle") == angles([0, 1])
    assert [count for _, count, _, _ in gaps_of(client, name, "wheel")] == [1, 1]


def test_flags_are_of_the_next_row_alone(client: gapless.Client) -> None:
    """A policy's decision is a row's; it says nothing of a picture."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        for step in range(6):
            world.step = step
            if step in (0, 3):
                observer.flag(FrameFlag.NEW_POLICY_STEP)
            observer.observe(step, world.time_ns)
    assert column(client, name, "frames", "frame_flags") == [1, 0, 0, 1, 0, 0]
    assert column(client, name, "eye/frames", "frame_flags") == [0] * 6


def test_a_soft_reset_lets_time_go_back_once(client: gapless.Client) -> None:
    """Rows stay in order, one tick after the last step; captures tell the simulation's time; the row says so."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        run(observer, world, 4)
        world.reset()
        observer.soft_reset("the cube fell off the table")
        run(observer, world, 3)
    for topic in ("frames", "wheel", "eye", "eye/frames"):
        assert column(client, name, topic, "timestamp_ns") == [n * DT_NS for n in range(7)]
    for topic in ("frames", "eye/frames"):
        assert column(client, name, topic, "captured_ns") == [n * DT_NS for n in (0, 1, 2, 3, 0, 1, 2)]
        assert column(client, name, topic, "frame_flags") == [0, 0, 0, 0, FrameFlag.POST_RESET, 0, 0]
    assert column(client, name, "wheel", "angle") == angles([0, 1, 2, 3, 0, 1, 2])
    assert rows_of(client, name, "_gaps") == []
    [event] = rows_of(client, name, "_events")
    assert (event["kind"], event["message"]) == ("soft_reset", "the cube fell off the table")
    assert event["timestamp_ns"] == 4 * DT_NS, "at the next instant, which is the first after the reset"


def test_a_reset_in_the_first_step_is_another_step(client: gapless.Client) -> None:
    """Two steps with one number are two instants when a reset lies between them."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        run(observer, world, 1)
        observer.soft_reset()
        run(observer, world, 2)
    for topic in TOPICS:
        assert column(client, name, topic, "timestamp_ns") == [0, DT_NS, 2 * DT_NS]
    assert column(client, name, "frames", "frame_flags") == [0, FrameFlag.POST_RESET, 0]
    assert column(client, name, "wheel", "angle") == angles([0, 0, 1])


def test_time_that_goes_back_by_itself_fails_the_episode(client: gapless.Client) -> None:
    """It is not put in order and not left out; the error says what to call."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        observer.begin_episode()
        run(observer, world, 4)
        with pytest.raises(EpisodeFailed, match="soft_reset"):
            observer.observe(4, 0)
        assert observer.recording is False
        name = observer.begin_episode()
        run(observer, World(), 2)
        observer.end_episode()
    assert outcomes(client) == {"s/episode-000000": "failed", name: "completed"}
    assert len(rows_of(client, "s/episode-000000", "wheel")) == 4


@pytest.mark.parametrize("mode", ["simulated", "mixed"])
def test_a_step_without_a_time_is_refused(client: gapless.Client, mode: str) -> None:
    """Where time is the simulation's, the episode cannot go on without it."""
    with started(client, [toy(World())], mode=mode) as observer:
        observer.begin_episode()
        with pytest.raises(UsageError, match="no time"):
            observer.observe(0)


class Pause:
    """Steps of which some are paused."""

    def __init__(self, client: gapless.Client, **options: Any) -> None:
        self.world = World()
        self.recorder = Toy(
            "toy", [Wheel(self.world), Wheel(self.world, "steps", every="step")], [Eye(self.world)]
        )
        self.observer = started(client, [self.recorder], data_hz=100, **options)

    def steps(self, first: int, last: int) -> None:
        """Observe these steps."""
        for step in range(first, last):
            self.world.step = step
            self.observer.observe(step, self.world.time_ns)


@pytest.mark.parametrize("stepping", [True, False], ids=["steps go on", "no hooks"])
def test_a_pause_is_a_gap_with_its_reason(client: gapless.Client, stepping: bool) -> None:
    """From the last instant to the next one, without a count, in all topics; no source is read meanwhile."""
    paused = Pause(client)
    with paused.observer as observer:
        name = observer.begin_episode()
        paused.steps(0, 3)
        reads = [table.reads for table in paused.recorder.tables]
        observer.pause("the door is open")
        if stepping:
            paused.steps(3, 8)
        assert [table.reads for table in paused.recorder.tables] == reads
        observer.pause("still")
        observer.resume()
        paused.steps(8, 10)
    for topic in (*TOPICS, "steps"):
        assert gaps_of(client, name, topic) == [("the door is open", None, 2 * DT_NS, 8 * DT_NS)]
        assert column(client, name, topic, "timestamp_ns") == [n * DT_NS for n in (0, 1, 2, 8, 9)]
    for topic in ("frames", "eye/frames"):
        assert column(client, name, topic, "frame_flags") == [0, 0, 0, FrameFlag.AFTER_GAP, 0]
    assert client.sequence_handler(name).ledger["gapped"] == 0


def test_a_pause_at_the_end_is_a_gap_too(client: gapless.Client) -> None:
    """It lasts as long as there were steps."""
    paused = Pause(client)
    with paused.observer as observer:
        name = observer.begin_episode()
        paused.steps(0, 3)
        observer.pause()
        paused.steps(3, 6)
    assert gaps_of(client, name, "frames") == [("paused", None, 2 * DT_NS, 5 * DT_NS)]


def test_a_pause_before_the_first_step(client: gapless.Client) -> None:
    """One that is over before there was a time is nothing; one that goes on begins with the first step."""
    paused = Pause(client)
    with paused.observer as observer:
        first = observer.begin_episode()
        observer.pause()
        observer.resume()
        paused.steps(5, 7)
        observer.end_episode()
        second = observer.begin_episode()
        observer.pause()
        paused.steps(5, 7)
        observer.resume()
        paused.steps(7, 9)
    assert gaps_of(client, first, "frames") == []
    assert column(client, first, "frames", "frame_flags") == [0, 0]
    assert gaps_of(client, second, "frames") == [("paused", None, 5 * DT_NS, 7 * DT_NS)]
    assert column(client, second, "frames", "timestamp_ns") == [7 * DT_NS, 8 * DT_NS]


@pytest.mark.parametrize("reason", ["", " ", "a\nb", 5])
def test_a_pause_has_a_reason_in_words(client: gapless.Client, reason: Any) -> None:
    """Refused at once, and the episode goes on."""
    paused = Pause(client)
    with paused.observer as observer:
        name = observer.begin_episode()
        paused.steps(0, 2)
        with pytest.raises(UsageError, match="reason"):
            observer.pause(reason)
        paused.steps(2, 4)
    assert len(rows_of(client, name, "frames")) == 4


def test_resume_without_a_pause_changes_nothing(client: gapless.Client) -> None:
    """No gap, no flag, and the grid goes on."""
    paused = Pause(client)
    with paused.observer as observer:
        name = observer.begin_episode()
        paused.steps(0, 2)
        observer.resume()
        paused.steps(2, 4)
    assert column(client, name, "frames", "frame_flags") == [0] * 4
    assert rows_of(client, name, "_gaps") == []
