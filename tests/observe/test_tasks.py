"""Tasks: numbered in words, and each row has one or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.observe.toy import DT_NS, World, column, rows_of, run, started, toy

import gapless
from gapless.errors import NotFound, UsageError
from gapless.observe.observer import Observer


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def test_each_row_has_its_task(client: gapless.Client) -> None:
    """Known tasks are written at the begin, new ones when they are registered, and each once."""
    world = World()
    observer = started(client, [toy(world)], data_hz=100)
    name = observer.begin_episode()
    observer.register_task(7, "hold the wheel")
    run(observer, world, 2)
    observer.register_task(1, "stop the wheel")
    observer.register_task(1, "stop the wheel")
    for step, task in ((2, 1), (3, -1), (4, 7), (5, 0)):
        observer.set_task(task)
        world.step = step
        observer.observe(step, world.time_ns)
    later = observer.end_and_begin_next()
    observer.observe(6, 6 * DT_NS)
    observer.end_session()
    assert column(client, name, "frames", "task_index") == [0, 0, 1, -1, 7, 0]
    tasks = [tuple(row.values()) for row in rows_of(client, name, "tasks")]
    assert tasks == [(0, 0, "turn the wheel"), (0, 7, "hold the wheel"), (DT_NS, 1, "stop the wheel")]
    assert column(client, later, "tasks", "task_index") == [0, 1, 7]
    assert column(client, later, "frames", "task_index") == [0]


def test_a_session_without_tasks_has_none(client: gapless.Client) -> None:
    """The rows say -1."""
    with Observer(client, [toy(World())]) as observer:
        observer.start_session("s")
        observer.tick()
        name = observer.begin_episode()
        observer.observe(0, 0)
    assert column(client, name, "frames", "task_index") == [-1]
    assert rows_of(client, name, "tasks") == []


def test_tasks_that_mean_nothing_are_refused(client: gapless.Client) -> None:
    """And the rows keep the task they had."""
    with started(client, [toy(World())]) as observer:
        name = observer.begin_episode()
        for index, text in ((-1, "a"), (True, "a"), (2**31, "a"), (1, " "), (1, 5), (0, "another")):
            with pytest.raises(UsageError):
                observer.register_task(index, text)
        with pytest.raises(NotFound, match="turn the wheel"):
            observer.set_task(3)
        observer.observe(0, 0)
    assert column(client, name, "frames", "task_index") == [0]
