"""In real time: rows on the clock's grid, and every tick that came too late is a gap."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.observe.toy import Toy, Wheel, World, column, gaps_of, rows_of, started, toy

import gapless
from gapless.observe.instants import Instants
from gapless.observe.observer import Observer
from gapless.observe.options import Options
from gapless.observe.step import Phase, StepContext
from gapless.store.episode_rows import FrameFlag
from gapless.testing.clock import ManualClock

MS = 1_000_000


class Clocked:
    """An observer of a wheel and a camera whose time the test moves."""

    def __init__(self, folder: Path, rate: str, video: str | None = None, mode: str = "realtime") -> None:
        self.clock = ManualClock()
        self.world = World()
        self.client = gapless.connect(folder, platform=self.clock)
        self.steps = Wheel(self.world, "steps", every="step")
        recorder = Toy("toy", [Wheel(self.world), self.steps], toy(self.world).cameras)
        self.observer: Observer = started(self.client, [recorder], mode=mode, data_hz=rate, video_hz=video)

    def step(self, after_ns: int, time_ns: int | None = None) -> None:
        """Let time pass and observe once."""
        self.clock.advance(after_ns)
        self.world.step += 1
        self.observer.observe(self.world.step, time_ns)


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    """Return an observer at 100 Hz."""
    return Clocked(tmp_path / "store", "100")


def relative(clocked: Clocked, name: str, topic: str, field: str = "timestamp_ns") -> list[int]:
    """Return a column of times, from the first row of the episode on."""
    [first, *_] = column(clocked.client, name, "frames", "timestamp_ns")
    return [time - first for time in column(clocked.client, name, topic, field)]


def test_late_ticks_are_gaps_and_captures_are_true(clocked: Clocked) -> None:
    """A row has the time of its tick and, beside it, when it was captured; rows and gaps are all ticks."""
    with clocked.observer as observer:
        name = observer.begin_episode()
        for after_ns in (0, 10 * MS, 13 * MS, 4 * MS, 40 * MS, 3 * MS):
            clocked.step(after_ns)
    assert relative(clocked, name, "frames") == [0, 10 * MS, 20 * MS, 60 * MS, 70 * MS]
    assert relative(clocked, name, "frames", "captured_ns") == [0, 10 * MS, 23 * MS, 67 * MS, 70 * MS]
    assert column(clocked.client, name, "frames", "frame_flags") == [0, 0, 0, FrameFlag.AFTER_GAP, 0]
    assert relative(clocked, name, "steps") == [n * MS for n in (0, 10, 23, 27, 67, 70)]
    [first, *_] = column(clocked.client, name, "frames", "timestamp_ns")
    for topic in ("frames", "wheel", "eye", "eye/frames"):
        assert gaps_of(clocked.client, name, topic) == [("late", 3, first + 30 * MS, first + 60 * MS)]
    assert gaps_of(clocked.client, name, "steps") == []
    assert clocked.client.sequence_handler(name).ledger["gapped"] == 4 * 3


def test_one_instant_though_time_passes_in_the_hooks(clocked: Clocked) -> None:
    """The clock is read once for each step: tables and cameras agree."""
    with clocked.observer as observer:
        name = observer.begin_episode()
        for step in range(4):
            for phase in Phase:
                for hook in (observer.update_data, observer.update_video):
                    hook(StepContext(step, phase))
                    clocked.clock.advance(2 * MS)
            clocked.clock.advance(2 * MS)
    assert relative(clocked, name, "frames") == [n * 10 * MS for n in range(4)]
    assert relative(clocked, name, "eye/frames") == [n * 10 * MS for n in range(4)]
    times = [column(clocked.client, name, topic, "captured_ns") for topic in ("frames", "eye/frames")]
    assert times[0] == times[1] == column(clocked.client, name, "steps", "timestamp_ns")


def test_a_step_of_the_wall_clock_moves_no_row(clocked: Clocked) -> None:
    """Rows follow a clock that never steps."""
    with clocked.observer as observer:
        name = observer.begin_episode()
        for jump_s in (0, 3600, -7200, 5):
            clocked.clock.step_wall(jump_s * 10**9)
            clocked.step(10 * MS)
    assert relative(clocked, name, "frames") == [0, 10 * MS, 20 * MS, 30 * MS]
    assert rows_of(clocked.client, name, "_gaps") == []


def test_a_pause_in_real_time_lasts_as_long_as_the_clock_says(clocked: Clocked) -> None:
    """Also one that is open when the episode ends; ticks of the pause are not late."""
    with clocked.observer as observer:
        name = observer.begin_episode()
        clocked.step(0)
        observer.pause("the operator is away")
        clocked.step(500 * MS)
        observer.resume()
        clocked.step(500 * MS + 3)
        clocked.step(10 * MS)
        observer.pause()
        clocked.clock.advance(20 * MS)
    [first, *_] = column(clocked.client, name, "frames", "timestamp_ns")
    again = 1000 * MS + 3
    assert relative(clocked, name, "frames") == [0, again, again + 10 * MS]
    assert [(c, n, a - first, b - first) for c, n, a, b in gaps_of(clocked.client, name, "eye")] == [
        ("the operator is away", None, 0, again),
        ("paused", None, again + 10 * MS, again + 30 * MS),
    ]


def test_mixed_rows_have_simulation_time_and_captures_the_clocks(tmp_path: Path) -> None:
    """The clock says nothing about which ticks are due."""
    clocked = Clocked(tmp_path / "store", "100", mode="mixed")
    with clocked.observer as observer:
        name = observer.begin_episode()
        for n in range(4):
            clocked.step(70 * MS, 5 * 10**9 + n * 10 * MS)
    rows = rows_of(clocked.client, name, "frames")
    assert [row["timestamp_ns"] for row in rows] == [5 * 10**9 + n * 10 * MS for n in range(4)]
    captured = [row["captured_ns"] for row in rows]
    assert [b - a for a, b in itertools.pairwise(captured)] == [70 * MS] * 3
    assert rows_of(clocked.client, name, "_gaps") == []


@pytest.mark.parametrize(("rate", "video"), [("30000/1001", "60"), ("50", "7"), ("1/2", "30000/1001")])
def test_rows_and_gaps_of_a_recording_are_all_ticks(tmp_path: Path, rate: str, video: str) -> None:
    """At different rates, with steps by chance, for rows and for pictures."""
    clocked = Clocked(tmp_path / "store", rate, video)
    chance = random.Random(rate)
    elapsed_ns = 0
    with clocked.observer as observer:
        name = observer.begin_episode()
        clocked.step(0)
        for _ in range(60):
            after_ns = chance.choice([1, 5 * MS, 20 * MS, 33 * MS, 400 * MS]) + chance.randrange(1000)
            elapsed_ns += after_ns
            clocked.step(after_ns)
    for topic, hz in (("frames", rate), ("wheel", rate), ("eye", video), ("eye/frames", video)):
        missed = sum(count or 0 for _, count, _, _ in gaps_of(clocked.client, name, topic))
        assert len(rows_of(clocked.client, name, topic)) + missed == ticks_in(elapsed_ns, hz)


def ticks_in(elapsed_ns: int, hz: str) -> int:
    """Return how many ticks there are from one to a time this much later, both included."""
    return math.ceil((elapsed_ns + 1) * Fraction(hz) / 10**9)


class Counting:
    """Stands where an episode is, and counts what instants hand over."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.pictures: list[int] = []
        self.missing = [0, 0]
        self.tables = self.cameras = self.step_tables = ()

    def start(self, tasks: object, time_ns: int) -> None:
        """Know the first time."""
        self.first_ns = time_ns

    def write_row(self, tick, captured_ns, flags, task) -> None:  # type: ignore[no-untyped-def]
        """Count a row."""
        self.rows.append(tick.time_ns)
        self.missing[0] += tick.missed

    def write_pictures(self, tick, captured_ns, flags) -> None:  # type: ignore[no-untyped-def]
        """Count a picture."""
        self.pictures.append(tick.time_ns)
        self.missing[1] += tick.missed

    def write_steps(self, time_ns: int) -> None:
        """Take the steps."""

    def gap(self, cause: str, start_ns: int, end_ns: int, *, rows: int | None, pictures: int | None) -> None:
        """Count what is missing."""
        self.missing[0] += rows or 0
        self.missing[1] += pictures or 0


RATES = st.sampled_from(["30", "30000/1001", "60", "7", "1/3", "999", "24000/1001"])
STEPS = st.lists(st.tuples(st.integers(0, 2 * 10**9), st.booleans(), st.booleans()), min_size=1, max_size=50)


@settings(max_examples=200)
@given(data_hz=RATES, video_hz=RATES, steps=STEPS, origin_ns=st.integers(0, 2**60))
def test_whatever_is_called_rows_and_gaps_are_all_ticks(
    data_hz: str, video_hz: str, steps: list[tuple[int, bool, bool]], origin_ns: int
) -> None:
    """For steps of any length of which some call only one of the two hooks, or none of both."""
    options = Options.of(
        "simulated", data_hz, video_hz, "block",
        deterministic=None, total_episodes=None, max_episode_s=None, auto_advance=False,
    )  # fmt: skip
    instants, counting = Instants(options), Counting()
    instants.begin(counting, {}, -1)  # type: ignore[arg-type]
    now_ns = origin_ns
    for number, (after_ns, data, video) in enumerate(steps):
        now_ns += after_ns if number else 0
        for phase in Phase:
            context = StepContext(number, phase, now_ns)
            for called, acquire, export in (
                (data, instants.acquire_data, instants.export_data),
                (video, instants.acquire_video, instants.export_video),
            ):
                if called and phase is Phase.ACQUIRE:
                    acquire(context)
                elif called:
                    export()
    seen = [n for n, (_, data, video) in enumerate(steps) if data or video]
    first_ns, last_ns = (
        (origin_ns + sum(after for after, _, _ in steps[1 : n + 1]) for n in (seen[0], seen[-1]))
        if seen
        else (0, 0)
    )
    instants.end()
    if not seen:
        assert counting.rows == counting.pictures == []
        return
    for rows, missing, hz in (
        (counting.rows, counting.missing[0], data_hz),
        (counting.pictures, counting.missing[1], video_hz),
    ):
        assert len(rows) + missing == ticks_in(last_ns - first_ns, hz)
        assert rows == sorted(set(rows))
