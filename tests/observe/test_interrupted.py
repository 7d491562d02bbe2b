"""A Ctrl-C, a crash, a forgotten end or a busy disk: what an episode claims is what is on disk."""

from __future__ import annotations

import inspect
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.observe.toy import Desk, Eye, Reports, Toy, World, outcomes, rows_of, run, started, toy

import gapless
import gapless.catalog.sqlite
import gapless.observe.episode
from gapless.client.media_writer import MediaTopicWriter
from gapless.errors import EpisodeFailed
from gapless.observe import Observer
from gapless.observe.approval import Decision
from gapless.observe.closing import Closer
from gapless.observe.statistics import write_statistics
from gapless.observe.writers.table import FrameWriter

ROOT = Path(__file__).resolve().parents[2]
EPISODE = "s/episode-000000"


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


# -- Ctrl-C in the middle of an instant ------------------------------------------------------------


def tear_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Ctrl-C come where the picture of the second camera waits for room."""
    push = MediaTopicWriter.push_image

    def pushed(self: MediaTopicWriter, *values: Any, **options: Any) -> Any:
        if self.name == "right":
            monkeypatch.undo()
            raise KeyboardInterrupt
        return push(self, *values, **options)

    monkeypatch.setattr(MediaTopicWriter, "push_image", pushed)


def tear_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a Ctrl-C come between the row of the wheel and that of ``frames``."""

    def appended(*_: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(FrameWriter, "append", appended)


def go_on(observer: Observer, world: World) -> None:
    """Observe the next step."""
    world.step += 1
    observer.observe(world.step, world.time_ns)


def end(observer: Observer, world: World) -> None:
    """End the episode as if nothing had happened."""
    observer.end_episode(success=True)


@pytest.mark.parametrize("then", [go_on, end])
@pytest.mark.parametrize("tear", [tear_pictures, tear_rows])
def test_a_torn_instant_is_never_completed(
    client: gapless.Client,
    monkeypatch: pytest.MonkeyPatch,
    tear: Callable[[pytest.MonkeyPatch], None],
    then: Callable[[Observer, World], None],
) -> None:
    """Some of its rows are written and others not, so a program that goes on is told that it cannot."""
    world = World()
    both = Toy("toy", toy(world).tables, [Eye(world, "left"), Eye(world, "right")])
    observer = started(client, [both], data_hz=100)
    observer.begin_episode()
    run(observer, world, 3)
    with monkeypatch.context() as patch:
        tear(patch)
        with pytest.raises(KeyboardInterrupt):
            go_on(observer, world)
    with pytest.raises(EpisodeFailed, match="in the middle of an instant"):
        then(observer, world)
    assert not observer.recording
    assert outcomes(client) == {EPISODE: "failed"}
    assert observer.begin_episode() == "s/episode-000001"
    run(observer, world, 2)
    observer.end_episode(success=True)
    assert outcomes(client)["s/episode-000001"] == "completed"


# -- Ctrl-C while an episode is handed over and waited for -----------------------------------------


def lines_of(*functions: Callable[..., Any]) -> list[tuple[str, int]]:
    """Return the name and the lines, counted from its first, of each function's body."""
    found = []
    for function in functions:
        code = inspect.unwrap(function).__code__
        lines = {line - code.co_firstlineno for _, _, line in code.co_lines() if line is not None}
        found += [(code.co_name, line) for line in sorted(lines - {0})]
    return found


def interrupt_at(function: str, line: int) -> Callable[[FrameType, str, Any], Any]:
    """Return a trace function that raises KeyboardInterrupt once, before this line of a closer's method."""
    code = getattr(Closer, function).__code__

    def of_line(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno == code.co_firstlineno + line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return of_line

    return lambda frame, event, argument: of_line if frame.f_code is code else None


@pytest.mark.parametrize(("function", "line"), lines_of(Closer.give, Closer.ended, Closer._work))
def test_ctrl_c_while_an_episode_is_sealed_leaves_nothing_open(
    client: gapless.Client, function: str, line: int
) -> None:
    """Wherever it comes, the episode is sealed, its report says how, and nothing is waited for in vain."""
    world, desk = World(), Desk(Decision.APPROVED)
    observer = Observer(client, [toy(world, cameras=False)], desk, data_hz=100)
    traced = sys.gettrace()
    try:
        with observer:
            observer.start_session("s")
            observer.tick()
            observer.begin_episode()
            run(observer, world, 3)
            sys.settrace(interrupt_at(function, line))
            observer.end_episode(success=True)
            interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    finally:
        sys.settrace(traced)
    [outcome] = outcomes(client).values()
    assert outcome in (("completed", "aborted") if interrupted else ("completed",))
    assert str(observer.state) == ("interrupted" if interrupted else "idle")
    assert isinstance(desk.reports, Reports)
    assert [report["outcome"] for report in desk.reports.submitted] == [outcome]
    assert len(desk.reports.stopped) == 1
    for thread in threading.enumerate():
        if thread.name == "gapless-episode-sealer":
            thread.join(60)
            assert not thread.is_alive()


# -- a catalog that another process keeps ----------------------------------------------------------


@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_busy_catalog_does_not_make_a_sealed_episode_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, from_the_start: bool
) -> None:
    """The catalog is a cache: the episode is complete, is told as complete, and is found a look later."""
    monkeypatch.setattr(gapless.catalog.sqlite, "_BUSY_S", 0.05)
    client = gapless.connect(tmp_path / "store")
    world, desk = World(), Desk(Decision.APPROVED)
    observer = Observer(client, [toy(world)], desk, data_hz=100)
    observer.start_session("s")
    observer.tick()
    observer.begin_episode()
    run(observer, world, 3)
    other = sqlite3.connect(tmp_path / "store" / "catalog.db", check_same_thread=False)

    def lock_and_write(*values: Any) -> bytes:
        if not from_the_start:
            other.execute("BEGIN IMMEDIATE")
        return write_statistics(*values)

    monkeypatch.setattr(gapless.observe.episode, "write_statistics", lock_and_write)
    if from_the_start:
        other.execute("BEGIN IMMEDIATE")
    try:
        assert observer.end_episode(success=True) == EPISODE
        assert client.catalog_error is not None, "the catalog was not busy"
    finally:
        other.rollback()
        other.close()
    assert str(observer.state) == "recording"
    assert observer.episodes == 1
    assert isinstance(desk.reports, Reports)
    [report] = desk.reports.submitted
    assert report["outcome"] == "completed"
    assert report["content_digest"] == client.sequence_handler(EPISODE).content_digest
    observer.end_session()
    assert outcomes(client) == {EPISODE: "completed"}


# -- a hub's code that fails -----------------------------------------------------------------------


class Down:
    """Reports to a place that is down, and raises what no gapless code raises."""

    def submit(self, execution_metadata: Mapping[str, Any]) -> None:
        """Raise."""
        raise ConnectionError("down")

    def stop(self, summary: Mapping[str, Any]) -> None:
        """Raise."""
        raise ConnectionError("down")


def test_what_reports_raise_never_touches_a_recording(
    client: gapless.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The episode is sealed, the session ends, and the log says what was not reported."""
    world, desk = World(), Desk(Decision.APPROVED)
    desk.reports = Down()
    observer = Observer(client, [toy(world, cameras=False)], desk, data_hz=100)
    observer.start_session("s")
    observer.tick()
    observer.begin_episode()
    run(observer, world, 3)
    assert observer.end_episode(success=True) == EPISODE
    observer.end_session()
    assert str(observer.state) == "idle"
    assert outcomes(client) == {EPISODE: "completed"}
    assert [record.getMessage().count("ConnectionError: down") for record in caplog.records] == [1, 1]


# -- programs that end without an end --------------------------------------------------------------


def outcome_of_program(store: Path, program: str) -> tuple[int, str | None, dict[str, int]]:
    """Run a program on a store; return its exit, its one episode's outcome, and rows by topic."""
    program = f"import gapless\nclient = gapless.connect({str(store)!r})\n" + textwrap.dedent(program)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        cwd=store.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    client = gapless.connect(store)
    assert client.list_sequences(), done.stderr
    [(name, outcome)] = outcomes(client).items()
    topics = client.sequence_handler(name).topics
    return done.returncode, outcome, {topic: len(rows_of(client, name, topic)) for topic in topics}


@pytest.mark.parametrize("cameras", [True, False])
def test_a_program_that_never_ends_its_session_keeps_its_rows(tmp_path: Path, *, cameras: bool) -> None:
    """It ended in peace, so nothing is lost; but nobody said that the episode is complete."""
    program = f"""
        from tests.observe.toy import World, run, started, toy
        world = World()
        observer = started(client, [toy(world, cameras={cameras})], data_hz=100)
        observer.begin_episode()
        run(observer, world, 50)
    """
    returned, outcome, rows = outcome_of_program(tmp_path / "store", program)
    assert (returned, outcome) == (0, "aborted")
    assert rows["frames"] == rows["wheel"] == 50


def test_an_observer_that_is_forgotten_keeps_its_rows(tmp_path: Path) -> None:
    """It need not be a name of the module: a function that returned has let go of it."""
    program = """
        from tests.observe.toy import World, run, started, toy
        def main():
            world = World()
            observer = started(client, [toy(world, cameras=False)], data_hz=100)
            observer.begin_episode()
            run(observer, world, 50)
        main()
    """
    returned, outcome, rows = outcome_of_program(tmp_path / "store", program)
    assert (returned, outcome) == (0, "aborted")
    assert rows["frames"] == rows["wheel"] == 50


LOOP = """
    import gymnasium
    from gapless.observe import RecordEpisodes
    env = RecordEpisodes(gymnasium.make("Pendulum-v1"), client)
    env.reset(seed=1)
"""


def test_an_environment_that_is_never_closed_keeps_its_steps(tmp_path: Path) -> None:
    """All steps are there, younger than the first sync or not."""
    program = (
        LOOP
        + """
    for _ in range(150):
        env.step(env.action_space.sample())
    """
    )
    returned, outcome, rows = outcome_of_program(tmp_path / "store", program)
    assert (returned, outcome) == (0, "aborted")
    assert rows["environment"] == 150


@pytest.mark.parametrize(
    ("error", "expected"),
    [("RuntimeError('the policy diverged')", "failed"), ("KeyboardInterrupt", "aborted")],
)
def test_an_environment_closed_by_an_error_is_not_completed(
    tmp_path: Path, error: str, expected: str
) -> None:
    """``finally: env.close()`` is what everybody writes; the error is on its way there."""
    program = (
        LOOP
        + f"""
    try:
        for step in range(150):
            env.step(env.action_space.sample())
            if step == 20:
                raise {error}
    finally:
        env.close()
    """
    )
    returned, outcome, rows = outcome_of_program(tmp_path / "store", program)
    assert returned != 0
    assert outcome == expected
    assert rows["environment"] == 21
