"""Running a simulation under an observer: seeds, ends, approval, and what a failure leaves behind."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import gapless
from gapless.errors import ApprovalRefused, EpisodeFailed, UsageError
from gapless.observe.approval import Decision, EpisodeReports, LocalPolicy, SessionRequest
from gapless.observe.observer import Observer
from gapless.observe.recorder import Source
from gapless.observe.session_run import Progress, episode_seed, run_session

from .toy import World, toy


class Turning:
    """A wheel that turns for some states, 10 ms apart, and calls ``at_step`` before each of its steps."""

    dt_ns = 10_000_000
    tasks = ("turn the wheel", "stop the wheel")

    def __init__(self, states: int = 7, at_step: Callable[[int], None] = lambda _: None) -> None:
        self.world = World()
        self.seeds: list[int] = []
        self.success: bool | None = None
        self._states = states
        self._at_step = at_step

    def reset(self, seed: int) -> None:
        """Begin again."""
        self.seeds.append(seed)
        self.world.reset()
        self.world.seed = seed % 1000

    def step(self) -> bool:
        """Turn, unless it has turned enough."""
        self._at_step(self.world.step)
        if self.world.step + 1 == self._states:
            return False
        self.world.step += 1
        return True

    def sources(self) -> Mapping[str, Source]:
        """Return nothing: these tests make their recorders."""
        return {}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[gapless.Client]:
    """Return a client of an empty store."""
    with gapless.connect(tmp_path / "store") as opened:
        yield opened


def observer(client: gapless.Client, simulation: Turning, *approver: Any, **options: Any) -> Observer:
    """Return an observer of the wheel, one row for each step."""
    wheel: Any = toy(simulation.world, cameras=False)
    return Observer(client, [wheel], *approver, **{"data_hz": 100, "video_hz": 100} | options)


def rows(client: gapless.Client, name: str, topic: str = "frames") -> list[dict[str, Any]]:
    """Return the rows of a topic."""
    table = pa.Table.from_batches(list(client.sequence_handler(name).topic(topic).scan()))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_each_episode_has_its_seed_and_its_rows(client: gapless.Client) -> None:
    """Every state is one row, the first after the reset included; the seeds follow from seed and number."""
    simulation = Turning(states=7)
    results = run_session(observer(client, simulation), simulation, session="s", episodes=3, seed=7)
    seeds = [episode_seed(7, number) for number in range(3)]
    assert simulation.seeds == seeds == [result.seed for result in results]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert [result.sequence for result in results] == [f"s/episode-{number:06d}" for number in range(3)]
    for result in results:
        frames = rows(client, result.sequence)
        assert [frame["timestamp_ns"] for frame in frames] == [10_000_000 * k for k in range(7)]
        assert result.rows == 7
        episode = client.sequence_handler(result.sequence)
        assert (episode.outcome, episode.group) == ("completed", "s")
        assert episode.metadata["episode"]["seed"] == result.seed
        angles = [row["angle"] for row in rows(client, result.sequence, "wheel")]
        assert angles == [(result.seed % 1000 * 1000 + k) / 64 for k in range(7)]


def test_the_seed_of_an_episode_never_changes() -> None:
    """Recordings made by an older release can be made again."""
    assert [episode_seed(7, 0), episode_seed(7, 1), episode_seed(-1, 0)] == [
        215689894,
        1776908988,
        1573946925,
    ]


def test_a_session_is_continued_with_other_seeds(client: gapless.Client) -> None:
    """``first`` is the number of the next episode: two runs together are one longer run."""
    for simulation, first, episodes in ((Turning(), 0, 2), (Turning(), 2, 1)):
        run_session(
            observer(client, simulation), simulation, session="two", episodes=episodes, seed=3, first=first
        )
    simulation = Turning()
    run_session(observer(client, simulation), simulation, session="one", episodes=3, seed=3)
    for number in range(3):
        ours, theirs = (client.sequence_handler(f"{s}/episode-{number:06d}") for s in ("two", "one"))
        assert ours.metadata["episode"]["seed"] == theirs.metadata["episode"]["seed"]
        assert rows(client, ours.name, "wheel") == rows(client, theirs.name, "wheel")


def test_success_is_asked_when_the_episode_is_over(client: gapless.Client) -> None:
    """True, False and not judged reach the episode's row; the first task is that of the rows."""
    simulation = Turning()
    wanted = iter([True, False, None])

    def judge(step: int) -> None:
        if step == 6:
            simulation.success = next(wanted)

    simulation._at_step = judge
    results = run_session(observer(client, simulation), simulation, session="s", episodes=3, seed=0)
    assert [result.success for result in results] == [True, False, None]
    for result in results:
        [ended] = rows(client, result.sequence, "episode")
        assert (ended["success"], ended["frames"], ended["reason"]) == (result.success, 7, "ended")
        assert {frame["task_index"] for frame in rows(client, result.sequence)} == {0}
        tasks = [task["task"] for task in rows(client, result.sequence, "tasks")]
        assert tasks == ["turn the wheel", "stop the wheel"]


def test_an_episode_ends_at_its_cap(client: gapless.Client) -> None:
    """The cap ends each episode with the simulation's judgement, and the next one is reset."""
    simulation = Turning(states=100)
    simulation.success = True
    watched = observer(client, simulation, max_episode_s=0.05)
    results = run_session(watched, simulation, session="s", episodes=2, seed=0)
    assert [(result.rows, result.success) for result in results] == [(5, True), (5, True)]
    assert len(simulation.seeds) == 2
    assert [rows(client, result.sequence, "episode")[0]["reason"] for result in results] == [
        "duration_cap"
    ] * 2


def test_a_late_step_takes_its_ticks_off_the_cap(client: gapless.Client) -> None:
    """The cap is time: the episode ends at it, judged, however many rows are missing, and the next one comes."""

    def hang(step: int) -> None:
        if step == 2:
            time.sleep(0.2)  # 20 ticks

    simulation = Turning(states=1000, at_step=hang)
    simulation.success = True
    watching = observer(client, simulation, mode="realtime", max_episode_s=0.4)
    results = run_session(watching, simulation, session="s", episodes=2, seed=0)
    assert [result.success for result in results] == [True, True]
    for result in results:
        (ended,) = rows(client, result.sequence, "episode")
        assert (ended["success"], ended["reason"], ended["frames"]) == (True, "duration_cap", result.rows)
        assert 3 <= result.rows < 40
        assert client.sequence_handler(result.sequence).outcome == "completed"


def test_a_step_of_a_third_of_a_row_is_exact(client: gapless.Client) -> None:
    """1/90 s is no whole number of nanoseconds; every third of 301 states is a row all the same."""
    simulation = Turning(states=301)
    simulation.dt_ns = 11_111_111
    watched = observer(client, simulation, data_hz=30, video_hz=30)
    [result] = run_session(watched, simulation, session="s", episodes=1, seed=0)
    frames = rows(client, result.sequence)
    assert [frame["timestamp_ns"] for frame in frames] == [k * 1_000_000_000 // 30 for k in range(101)]
    assert all(frame["captured_ns"] == frame["timestamp_ns"] for frame in frames)
    assert [row["angle"] for row in rows(client, result.sequence, "wheel")] == [
        (result.seed % 1000 * 1000 + 3 * k) / 64 for k in range(101)
    ]


def test_a_step_that_fits_no_row_is_captured_at_its_time(client: gapless.Client) -> None:
    """2 ms and 30 Hz: 2500 states are 150 rows on the nominal grid, each captured at the next step."""
    simulation = Turning(states=2500)
    simulation.dt_ns = 2_000_000
    watched = observer(client, simulation, data_hz=Fraction(30), video_hz=30)
    [result] = run_session(watched, simulation, session="s", episodes=1, seed=0)
    frames = rows(client, result.sequence)
    assert [frame["timestamp_ns"] for frame in frames] == [k * 1_000_000_000 // 30 for k in range(150)]
    for frame in frames:
        assert frame["captured_ns"] == -(-frame["timestamp_ns"] // 2_000_000) * 2_000_000


def test_fewer_steps_than_rows_are_refused(client: gapless.Client) -> None:
    """Rows that no step could fill are refused before anything is recorded."""
    simulation = Turning()
    with pytest.raises(UsageError, match="at most 100 rows"):
        run_session(observer(client, simulation, data_hz=250), simulation, session="s", episodes=1, seed=0)
    assert client.list_sequences() == []


def test_real_time_paces_the_steps(client: gapless.Client) -> None:
    """No step comes early, two that are late leave a gap, and rows and gaps together are the clock's ticks."""
    called_ns: list[int] = []

    def dawdle(step: int) -> None:
        called_ns.append(time.monotonic_ns())
        time.sleep(0.045 if step in (3, 9) else 0)

    simulation = Turning(states=20, at_step=dawdle)
    watched = observer(client, simulation, mode="realtime")
    begin_ns = time.monotonic_ns()
    [result] = run_session(watched, simulation, session="s", episodes=1, seed=0)
    frames = rows(client, result.sequence)
    gaps = [gap for gap in rows(client, result.sequence, "_gaps") if gap["topic"] == "frames"]
    assert {gap["cause"] for gap in gaps} == {"late"}
    first, last = frames[0], frames[-1]
    assert all(called_ns[step] - begin_ns >= step * 10_000_000 for step in range(20))
    end_ns = max(last["timestamp_ns"], *(gap["end_ns"] for gap in gaps))
    ticks = 1 + (end_ns - first["timestamp_ns"]) // 10_000_000
    assert len(frames) + sum(gap["count"] for gap in gaps) == ticks > len(frames)


class Asked:
    """An approval that is pending until it was looked at five times."""

    error = None
    reports: EpisodeReports | None = None

    def __init__(self) -> None:
        self.looks = 0
        self.cancelled = False

    def request(self, session: SessionRequest) -> Asked:
        """Be asked."""
        return self

    def poll(self) -> Decision:
        """Count the looks."""
        self.looks += 1
        return Decision.APPROVED if self.looks == 5 else Decision.PENDING

    def cancel(self) -> None:
        """Note it."""
        self.cancelled = True


def test_nothing_moves_before_the_approval(client: gapless.Client) -> None:
    """While the approval is pending nothing is reset, stepped or written; then all episodes are recorded."""
    simulation, asked = Turning(), Asked()
    waited: list[tuple[int, list[int], list[str]]] = []

    def look(progress: Progress) -> None:
        if progress.sequence is None:
            waited.append((asked.looks, list(simulation.seeds), client.list_sequences()))

    results = run_session(
        observer(client, simulation, asked), simulation, session="s", episodes=2, seed=0, on_progress=look
    )
    assert waited == [(look, [], []) for look in range(1, 5)]
    assert len(results) == 2


def test_a_stop_while_waiting_cancels(client: gapless.Client) -> None:
    """Ctrl-C before the approval takes the question back and records nothing."""
    simulation, asked = Turning(), Asked()

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_session(
            observer(client, simulation, asked), simulation, session="s", episodes=2, seed=0, on_progress=stop
        )
    assert asked.cancelled
    assert client.list_sequences() == []


def test_a_refused_session_records_nothing(client: gapless.Client) -> None:
    """The reason of the refusal is raised, and the simulation was never touched."""
    simulation = Turning()
    refused = observer(client, simulation, LocalPolicy(lambda request: "no robots on Sunday"))
    with pytest.raises(ApprovalRefused, match="no robots on Sunday"):
        run_session(refused, simulation, session="s", episodes=2, seed=0)
    assert simulation.seeds == []
    assert client.list_sequences() == []


def test_a_stop_seals_the_open_episode_as_aborted(client: gapless.Client) -> None:
    """Ctrl-C in the second episode: the first is completed, the second aborted with its rows."""
    simulation = Turning()
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if len(progress.results) == 1 and progress.rows == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_session(
            observer(client, simulation), simulation, session="s", episodes=5, seed=0, on_progress=stop
        )
    assert seen[0].sequence == "s/episode-000001"
    assert [result.sequence for result in seen[0].results] == ["s/episode-000000"]
    outcomes = [client.sequence_handler(name).outcome for name in sorted(client.list_sequences())]
    assert outcomes == ["completed", "aborted"]
    assert len(rows(client, "s/episode-000001")) == 3


@pytest.mark.parametrize("error", [ZeroDivisionError, AttributeError])
def test_a_judgement_that_raises_fails_its_episode(client: gapless.Client, error: type[Exception]) -> None:
    """Whatever it raises: an AttributeError too is a defect of the simulation, and not that nothing is judged."""

    class Judging(Turning):
        @property
        def success(self) -> bool:
            raise error("there is no judge")

        @success.setter
        def success(self, _: object) -> None:
            pass

    simulation = Judging()
    with pytest.raises(EpisodeFailed, match=r"success of the simulation failed.*there is no judge") as failed:
        run_session(observer(client, simulation), simulation, session="s", episodes=1, seed=0)
    assert isinstance(failed.value.__cause__, error)
    assert client.sequence_handler("s/episode-000000").outcome == "failed"


@pytest.mark.parametrize("call", ["step", "reset"])
def test_a_simulation_that_raises_fails_its_episode(client: gapless.Client, call: str) -> None:
    """The error names the line of the simulation; what was recorded before is kept."""

    def fail(step: int) -> None:
        if len(simulation.seeds) == 2 and step == 4:
            raise ZeroDivisionError("the wheel is off")

    class Falling(Turning):
        def reset(self, seed: int) -> None:
            super().reset(seed)
            if call == "reset":
                fail(4)

    simulation = Falling(at_step=fail)
    with pytest.raises(EpisodeFailed, match="the wheel is off") as failed:
        run_session(observer(client, simulation), simulation, session="s", episodes=3, seed=0)
    lines, first = inspect.getsourcelines(fail)
    assert f"{__file__}:{first + len(lines) - 1}: {call}()" in str(failed.value)
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    outcomes = [client.sequence_handler(name).outcome for name in sorted(client.list_sequences())]
    assert outcomes == (["completed"] if call == "reset" else ["completed", "failed"])
    assert call == "reset" or len(rows(client, "s/episode-000001")) == 5


def test_what_a_run_cannot_do_is_refused(client: gapless.Client) -> None:
    """An observer that advances by itself, and a run without episodes."""
    simulation = Turning()
    advancing = observer(client, simulation, max_episode_s=1, auto_advance=True)
    with pytest.raises(UsageError, match="auto_advance"):
        run_session(advancing, simulation, session="s", episodes=1, seed=0)
    with pytest.raises(UsageError, match="episodes"):
        run_session(observer(client, simulation), simulation, session="s", episodes=0, seed=0)
    assert client.list_sequences() == []
