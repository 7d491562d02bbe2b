"""The table of states and moves: what is allowed, and that nothing else is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.observe.toy import Desk, World, run, started, toy

import gapless
from gapless.errors import EpisodeFailed, TransitionRefused
from gapless.observe.approval import Decision
from gapless.observe.observer import Observer
from gapless.observe.state import TABLE, DataState, Move, after

ALLOWED = {
    DataState.IDLE: {Move.START},
    DataState.PENDING_APPROVAL: {Move.APPROVE, Move.REFUSE, Move.INTERRUPT, Move.STOP},
    DataState.RECORDING: {Move.BEGIN, Move.FAIL, Move.INTERRUPT, Move.STOP},
    DataState.REJECTED: {Move.START, Move.STOP},
    DataState.FAILED: {Move.BEGIN, Move.FAIL, Move.INTERRUPT, Move.STOP},
    DataState.INTERRUPTED: {Move.START, Move.STOP},
}
LEADS_TO = {
    Move.START: DataState.PENDING_APPROVAL,
    Move.APPROVE: DataState.RECORDING,
    Move.REFUSE: DataState.REJECTED,
    Move.BEGIN: DataState.RECORDING,
    Move.FAIL: DataState.FAILED,
    Move.INTERRUPT: DataState.INTERRUPTED,
    Move.STOP: DataState.IDLE,
}


@pytest.mark.parametrize(("state", "move"), list(itertools.product(DataState, Move)))
def test_every_pair_is_allowed_or_refused(state: DataState, move: Move) -> None:
    """An allowed move has one end wherever it begins; every other pair names what is possible instead."""
    if move in ALLOWED[state]:
        assert after(state, move) is LEADS_TO[move]
        return
    with pytest.raises(TransitionRefused) as refused:
        after(state, move)
    assert str(state) in str(refused.value.found)
    for possible in ALLOWED[state]:
        assert str(possible) in str(refused.value.expected)


def test_the_table_has_no_pair_more() -> None:
    """What is not listed above is not in the table."""
    assert set(TABLE) == {(state, move) for state, moves in ALLOWED.items() for move in moves}


def reach(client: gapless.Client, wanted: DataState) -> Observer:
    """Return an observer that got into a state by what a user does."""
    world, desk = World(), Desk()
    recorder = toy(world, cameras=False, fail_at=1 if wanted is DataState.FAILED else -1)
    observer = Observer(client, [recorder], desk, data_hz=100)
    if wanted is DataState.IDLE:
        return observer
    observer.start_session("s")
    if wanted is DataState.INTERRUPTED:
        with pytest.raises(KeyboardInterrupt), observer:
            raise KeyboardInterrupt
    if wanted is DataState.REJECTED:
        desk.decision = Decision.REFUSED
        observer.tick()
    if wanted in (DataState.RECORDING, DataState.FAILED):
        desk.decision = Decision.APPROVED
        observer.tick()
    if wanted is DataState.FAILED:
        observer.begin_episode()
        with pytest.raises(EpisodeFailed):
            run(observer, world, 2)
    return observer


CALLS: dict[str, tuple[Callable[[Observer], object], set[DataState]]] = {
    "start_session": (
        lambda o: o.start_session("t"),
        {DataState.IDLE, DataState.REJECTED, DataState.INTERRUPTED},
    ),
    "begin_episode": (lambda o: o.begin_episode(), {DataState.RECORDING, DataState.FAILED}),
    "end_session": (lambda o: o.end_session(), set(DataState) - {DataState.IDLE}),
    "end_episode": (lambda o: o.end_episode(), set()),
    "end_and_begin_next": (lambda o: o.end_and_begin_next(), set()),
    "discard_episode": (lambda o: o.discard_episode("no"), set()),
    "fail_episode": (lambda o: o.fail_episode(ValueError("no")), set()),
    "pause": (lambda o: o.pause(), set()),
    "resume": (lambda o: o.resume(), set()),
    "soft_reset": (lambda o: o.soft_reset(), set()),
}


@pytest.mark.parametrize("state", list(DataState))
@pytest.mark.parametrize("call", list(CALLS))
def test_every_call_in_every_state(tmp_path: Path, state: DataState, call: str) -> None:
    """With no episode open, a call works where the table says so and changes nothing where it does not."""
    client = gapless.connect(tmp_path / "store")
    observer = reach(client, state)
    assert observer.state is state
    act, works_in = CALLS[call]
    if state in works_in:
        act(observer)
    else:
        with pytest.raises(TransitionRefused) as refused:
            act(observer)
        assert str(state) in str(refused.value.found)
        assert observer.state is state
    if observer.state is not DataState.IDLE:
        observer.end_session()


def test_ticks_and_hooks_never_move_without_a_session(tmp_path: Path) -> None:
    """The hooks are nothing without an open episode, in every state."""
    client = gapless.connect(tmp_path / "store")
    for state in DataState:
        if state is DataState.FAILED:
            continue
        observer = reach(client, state)
        observer.observe(0, 0)
        assert observer.tick() is state
    assert client.list_sequences() == []


def test_a_second_begin_needs_an_end(tmp_path: Path) -> None:
    """An open episode is not replaced by another, and goes on."""
    world = World()
    with started(gapless.connect(tmp_path / "store"), [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        with pytest.raises(TransitionRefused, match="an episode is open"):
            observer.begin_episode()
        assert observer.episode == name
        run(observer, world, 3)
        assert observer.end_episode() == name


def test_the_tasks_belong_to_a_session(tmp_path: Path) -> None:
    """Without one they are refused."""
    observer = Observer(gapless.connect(tmp_path / "store"), [toy(World())])
    with pytest.raises(TransitionRefused, match="no session"):
        observer.register_task(0, "turn")
    with pytest.raises(TransitionRefused, match="no session"):
        observer.set_task(0)
