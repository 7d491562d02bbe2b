"""Sessions: nothing before the approval, reports in order, limits, tasks, and how a session ends."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.observe.toy import (
    Desk,
    Eye,
    Reports,
    Toy,
    Wheel,
    World,
    column,
    outcomes,
    rows_of,
    run,
    started,
    toy,
)

import gapless
from gapless.errors import (
    ApprovalRefused,
    EpisodeFailed,
    GaplessError,
    NotAuthenticated,
    NotFound,
    ObserveFailed,
    TransitionRefused,
)
from gapless.observe.approval import Decision, LocalPolicy, SessionRequest
from gapless.observe.observer import Observer
from gapless.observe.state import DataState
from gapless.observe.step import Phase, StepContext


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def writers() -> list[str]:
    """Return the names of this package's threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gapless")]


def untouched(client: gapless.Client) -> bool:
    """Tell whether nothing at all is under ``sequences/`` and nothing was discarded."""
    folder = client.path / "sequences"
    return not (folder.exists() and list(folder.iterdir())) and client.list_discarded() == []


# -- approval ----------------------------------------------------------------------------------


def test_nothing_is_written_before_the_approval(client: gapless.Client) -> None:
    """No file, no thread, no source read, however often the hooks are called; then all at once."""
    world, desk = World(), Desk()
    recorder = Toy("toy", [Wheel(world)], [Eye(world)])
    before = writers()
    observer = Observer(client, [recorder], desk, data_hz=100)
    observer.start_session("s", ["turn"])
    for _ in range(5):
        assert observer.tick() is DataState.PENDING_APPROVAL
        run(observer, world, 3)
        with pytest.raises(TransitionRefused, match="cannot begin an episode now"):
            observer.begin_episode()
    assert untouched(client)
    assert writers() == before
    assert recorder.tables[0].reads == recorder.begun == 0
    desk.decision = Decision.APPROVED
    assert (observer.tick(), untouched(client)) == (DataState.RECORDING, True)
    observer.begin_episode()
    assert not untouched(client)
    observer.end_session()
    assert writers() == before


def test_the_request_says_what_is_to_be_recorded(client: gapless.Client) -> None:
    """Words only."""
    desk = Desk()
    observer = Observer(client, [toy(World())], desk, video_hz="30000/1001", total_episodes=3)
    observer.start_session("s", ["turn", "stop"], metadata={"who": "a"})
    assert desk.asked == [
        SessionRequest("s", ("turn", "stop"), 3, "simulated", "30", "30000/1001", ("toy",), {"who": "a"})
    ]


@pytest.mark.parametrize("answer", [False, "the lab is closed"])
def test_a_local_policy_refuses_with_its_reason(client: gapless.Client, answer: bool | str) -> None:
    """The session is over, nothing was written, and the next one may be asked for."""
    observer = Observer(client, [toy(World())], LocalPolicy(lambda request: answer))
    observer.start_session("s")
    assert observer.tick() is DataState.REJECTED
    assert isinstance(observer.last_error, ApprovalRefused)
    reason = answer if isinstance(answer, str) else "the local policy says no"
    assert reason in str(observer.last_error)
    assert observer.tick() is DataState.REJECTED
    observer.observe(0, 0)
    assert untouched(client)
    observer.start_session("t")
    assert observer.last_error is None


def test_a_local_policy_approves(client: gapless.Client) -> None:
    """By what it is told of the session."""
    observer = Observer(client, [toy(World())], LocalPolicy(lambda request: request.session == "s"))
    observer.start_session("t")
    assert observer.tick() is DataState.REJECTED
    observer.start_session("s")
    assert observer.tick() is DataState.RECORDING


@pytest.mark.parametrize("error", [NotAuthenticated("no token"), OSError("no network")])
def test_an_approver_that_raises_rejects(client: gapless.Client, error: Exception) -> None:
    """At once: the call raises, the state is Rejected, and another session may be started."""

    class Broken:
        def request(self, session: SessionRequest) -> Any:
            raise error

    observer = Observer(client, [toy(World())], Broken())
    with pytest.raises(type(error)):
        observer.start_session("s")
    assert observer.state is DataState.REJECTED
    assert observer.last_error is error or isinstance(observer.last_error, ObserveFailed)
    assert str(error) in str(observer.last_error)
    assert observer.tick() is DataState.REJECTED
    assert untouched(client)


def test_ending_a_session_that_is_pending_cancels(client: gapless.Client) -> None:
    """Nothing was written, and the reason can be read."""
    desk = Desk()
    observer = Observer(client, [toy(World())], desk)
    observer.start_session("s")
    observer.end_session()
    assert (desk.cancelled, observer.state) == (1, DataState.IDLE)
    assert isinstance(observer.last_error, ApprovalRefused)
    assert untouched(client)
    assert isinstance(desk.reports, Reports)
    assert desk.reports.stopped == []


def test_an_exception_while_pending_cancels(client: gapless.Client) -> None:
    """The program that waits was stopped."""
    desk = Desk()
    observer = Observer(client, [toy(World())], desk)

    def program() -> None:
        with observer:
            observer.start_session("s")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program()
    assert (desk.cancelled, observer.state) == (1, DataState.INTERRUPTED)
    assert untouched(client)


def test_the_promotion_is_told_once(client: gapless.Client) -> None:
    """For each session."""
    told: list[DataState] = []
    observer = Observer(
        client, [toy(World())], on_recording_started=lambda: told.append(observer.state), data_hz=100
    )
    for session in ("s", "t"):
        observer.start_session(session)
        assert len(told) == (session == "t")
        for _ in range(3):
            observer.tick()
        observer.begin_episode()
        observer.tick()
        observer.end_session()
    assert told == [DataState.RECORDING] * 2


# -- reports -----------------------------------------------------------------------------------


def test_every_episode_is_reported_once_and_in_order(client: gapless.Client) -> None:
    """Completed, failed and discarded ones; the stop comes last."""
    world, desk = World(), Desk(Decision.APPROVED)
    wheel = Wheel(world)
    observer = Observer(client, [Toy("toy", [wheel], [Eye(world)])], desk, data_hz=100)
    observer.start_session("s")
    observer.tick()
    observer.begin_episode(seed=1)
    run(observer, world, 30)
    observer.end_and_begin_next(success=True, seed=2)
    run(observer, World(), 2)
    observer.discard_episode("nothing happened")
    observer.begin_episode(seed=3)
    run(observer, world, 30)
    observer.end_and_begin_next(success=False, seed=4)
    wheel._fail_at = wheel.reads + 1
    with pytest.raises(EpisodeFailed, match="the encoder of the wheel is gone"):
        run(observer, World(), 2)
    wheel._fail_at = -1
    observer.begin_episode(seed=5)
    observer.fail_episode(ValueError("the program knows better"))
    observer.begin_episode(seed=6)
    assert observer.episodes == 2
    observer.end_session()
    assert isinstance(desk.reports, Reports)
    told = desk.reports.submitted
    assert [
        (t["index"], t["seed"], t["frames"], t["success"], t["outcome"], t["discarded"]) for t in told
    ] == [
        (0, 1, 30, True, "completed", None),
        (1, 2, 2, None, None, "nothing happened"),
        (2, 3, 30, False, "completed", None),
        (3, 4, 1, None, "failed", None),
        (4, 5, 0, None, "failed", None),
        (5, 6, 0, None, "completed", None),
    ]
    for report in told:
        if report["discarded"] is None:
            handler = client.sequence_handler(report["sequence"])
            assert (handler.outcome, handler.content_digest) == (report["outcome"], report["content_digest"])
            assert handler.content_digest is not None
    assert desk.reports.stopped == [{"session": "s", "episodes": 3, "reason": "ended"}]


def test_a_session_without_a_hub_reports_nowhere(client: gapless.Client) -> None:
    """And records the same bytes."""
    tables: list[Any] = []
    for desk in (Desk(Decision.APPROVED), Desk(Decision.APPROVED)):
        if tables:
            desk.reports = None
        world = World(4)
        with Observer(client, [toy(world)], desk, data_hz=100) as observer:
            observer.start_session("s")
            observer.tick()
            name = observer.begin_episode(seed=4, metadata={"n": 1})
            run(observer, world, 5)
        tables.append(client.sequence_handler(name).topic("wheel").to_arrow())
    assert tables[0].equals(tables[1])


# -- limits ------------------------------------------------------------------------------------


def test_a_session_has_as_many_episodes_as_it_may(client: gapless.Client) -> None:
    """Discarded and failed ones do not count; after the last one no other begins."""
    world = World()
    observer = started(client, [toy(world)], data_hz=100, total_episodes=2)
    observer.begin_episode()
    observer.discard_episode("a rehearsal")
    observer.begin_episode()
    observer.fail_episode(ValueError("no"))
    complete = [observer.complete]
    observer.begin_episode()
    observer.end_and_begin_next()
    complete.append(observer.complete)
    with pytest.raises(TransitionRefused, match="all its episodes"):
        observer.end_and_begin_next()
    assert observer.recording
    observer.end_episode()
    complete.append(observer.complete)
    assert complete == [False, False, True]
    with pytest.raises(TransitionRefused, match="all its episodes"):
        observer.begin_episode()
    observer.end_session()
    assert list(outcomes(client).values()) == ["failed", "completed", "completed"]


@pytest.mark.parametrize("auto_advance", [False, True])
def test_an_episode_ends_at_its_cap(client: gapless.Client, auto_advance: bool) -> None:
    """After so many seconds of rows; the next begins by itself if it shall, and no step is lost between."""
    world = World()
    observer = started(
        client, [toy(world)], data_hz=100, max_episode_s=0.05, total_episodes=3, auto_advance=auto_advance
    )
    observer.begin_episode(seed=9)
    run(observer, world, 40)
    assert observer.recording is False
    assert observer.complete is auto_advance
    observer.end_session()
    names = sorted(client.list_sequences())
    assert len(names) == (3 if auto_advance else 1)
    steps = [round(angle * 64) for name in names for angle in column(client, name, "wheel", "angle")]
    assert steps == [*range(5 * len(names))]
    for name in names:
        assert len(rows_of(client, name, "eye")) == len(rows_of(client, name, "eye/frames")) == 5
        [ended] = rows_of(client, name, "episode")
        assert (ended["frames"], ended["reason"], ended["success"]) == (5, "duration_cap", None)


def test_a_cap_ends_an_episode_between_steps(client: gapless.Client) -> None:
    """Never within one, whatever the order of its hooks: the picture of the last row is in its episode."""
    world = World()
    with started(client, [toy(world)], data_hz=100, max_episode_s=0.03, auto_advance=True) as observer:
        observer.begin_episode()
        for step in range(6):
            world.step = step
            for hook, phase in itertools.product((observer.update_data, observer.update_video), Phase):
                hook(StepContext(step, phase, world.time_ns))
    for name in ("s/episode-000000", "s/episode-000001"):
        times = column(client, name, "frames", "timestamp_ns")
        assert len(times) == 3
        assert column(client, name, "eye/frames", "timestamp_ns") == times


# -- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(KeyboardInterrupt(), "aborted"), (SystemExit(1), "aborted"), (ZeroDivisionError(), "failed")],
)
def test_an_exception_that_leaves_the_block(
    client: gapless.Client, error: BaseException, outcome: str
) -> None:
    """Stopped by a person or by a failure: what there is is kept, told and sealed, with no word of an end."""
    world, desk = World(), Desk(Decision.APPROVED)
    observer = Observer(client, [toy(world)], desk, data_hz=100)
    first, second = "s/episode-000000", "s/episode-000001"

    def program() -> None:
        with observer:
            observer.start_session("s")
            observer.tick()
            observer.begin_episode()
            run(observer, world, 3)
            observer.end_and_begin_next()
            run(observer, world, 4)
            raise error

    with pytest.raises(type(error)):
        program()
    assert outcomes(client) == {first: "completed", second: outcome}
    assert observer.state is DataState.INTERRUPTED
    for topic in ("frames", "wheel", "eye", "eye/frames"):
        assert len(rows_of(client, second, topic)) == 4
    assert rows_of(client, second, "episode") == []
    assert client.verify(second, deep=True) == []
    assert isinstance(desk.reports, Reports)
    assert [r["outcome"] for r in desk.reports.submitted] == ["completed", outcome]
    assert type(error).__name__ in desk.reports.stopped[0]["reason"]
    desk.reports = Reports()
    observer.start_session("s")
    observer.tick()
    assert observer.begin_episode() == "s/episode-000002"
    observer.end_session()


def test_ctrl_c_inside_a_source_aborts(client: gapless.Client) -> None:
    """A person stops the program in the middle of a hook: that is no failure of the source."""
    world = World()

    class Stopped(Wheel):
        def read(self, context: Any) -> None:
            if self.reads == 2:
                raise KeyboardInterrupt
            super().read(context)

    def program() -> None:
        with started(client, [Toy("toy", [Stopped(world)])], data_hz=100) as observer:
            observer.begin_episode()
            run(observer, world, 5)

    with pytest.raises(KeyboardInterrupt):
        program()
    assert outcomes(client) == {"s/episode-000000": "aborted"}
    assert len(rows_of(client, "s/episode-000000", "wheel")) == 2


def test_an_error_of_a_source_keeps_its_cause(client: gapless.Client) -> None:
    """A typed error with the sequence, and the user's own behind it; typed ones come as they are."""
    world = World()
    observer = started(client, [toy(world, fail_at=2)], data_hz=100)
    name = observer.begin_episode()
    with pytest.raises(EpisodeFailed) as failed:
        run(observer, world, 4)
    assert failed.value.sequence == name
    assert isinstance(failed.value.__cause__, RuntimeError)
    assert observer.last_error is failed.value
    assert (observer.state, observer.recording, observer.rows) == (DataState.FAILED, False, 0)
    assert outcomes(client) == {name: "failed"}
    assert len(rows_of(client, name, "wheel")) == 2
    observer.end_session()

    class Typed(Wheel):
        def read(self, context: Any) -> None:
            raise NotFound("the robot has gone home")

    observer = started(client, [Toy("toy", [Typed(world)])])
    observer.begin_episode()
    with pytest.raises(NotFound, match="gone home") as typed:
        observer.observe(0, 0)
    assert isinstance(typed.value, GaplessError)
    assert typed.value is observer.last_error
    observer.end_session()
