"""Episodes one after the other: numbers, boundaries, what a discarded one leaves, and what is sealed with each."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.observe.toy import (
    DT_NS,
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
from gapless.errors import EpisodeFailed, MetadataRefused, NameRefused, UsageError
from gapless.observe.approval import Decision
from gapless.observe.episode import Episode
from gapless.observe.observer import Observer
from gapless.observe.state import DataState
from gapless.serve.native.reading import NativeReading
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(tmp_path / "store")


def hashes(folder: Path) -> dict[str, str]:
    """Return the digest of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# -- boundaries --------------------------------------------------------------------------------


def test_an_atomic_boundary_loses_no_step(client: gapless.Client) -> None:
    """The rows and pictures of all episodes together are all steps, each once, in order."""
    world = World()
    lengths = [7, 1, 33, 12]
    with started(client, [Toy("toy", [Wheel(world)], [Eye(world, media="png")])], data_hz=100) as observer:
        names = [observer.begin_episode(seed=0)]
        for number, length in enumerate(lengths):
            if number:
                names.append(observer.end_and_begin_next(success=True, seed=number))
                assert observer.episode == names[-1]
            for _ in range(length):
                observer.observe(world.step, world.time_ns)
                world.step += 1
    assert names == [f"s/episode-{n:06d}" for n in range(4)]
    steps: list[int] = []
    pictures: list[int] = []
    for name, length in zip(names, lengths, strict=True):
        handler = client.sequence_handler(name)
        assert column(client, name, "frames", "frame_index") == [*range(length)]
        assert column(client, name, "eye/frames", "frame_index") == [*range(length)]
        steps += [round(angle * 64) for angle in column(client, name, "wheel", "angle")]
        pictures += [int(picture[0, 0]) for _, picture in handler.topic("eye").frames()]
        assert rows_of(client, name, "_gaps") == []
        assert client.verify(name, deep=True) == []
    assert steps == pictures == [*range(sum(lengths))]
    assert [rows_of(client, n, "episode")[0]["reason"] for n in names] == ["advanced"] * 3 + ["ended"]
    assert [rows_of(client, n, "episode")[0]["success"] for n in names] == [True, True, True, None]


def test_a_recorder_begins_with_each_episode(client: gapless.Client) -> None:
    """Before its first row."""
    recorder = toy(World(), cameras=False)
    with started(client, [recorder], data_hz=100) as observer:
        observer.begin_episode()
        observer.end_and_begin_next()
        assert recorder.begun == 2


def test_a_begin_that_is_refused_ends_nothing(client: gapless.Client) -> None:
    """Bad words for the next episode leave the open one as it is."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        name = observer.begin_episode()
        run(observer, world, 2)
        with pytest.raises(MetadataRefused):
            observer.end_and_begin_next(metadata={"bad": object()})
        with pytest.raises(UsageError):
            observer.end_and_begin_next(metadata={"episode": 5})
        assert observer.episode == name
        run(observer, world, 2)
    assert len(rows_of(client, name, "frames")) == 3


def refuse_to_seal(monkeypatch: pytest.MonkeyPatch, *indices: int) -> threading.Event:
    """Let the sealing of these episodes fail, but not before the event is set."""
    seal, gate = Episode.seal, threading.Event()

    def failing(episode: Episode) -> Any:
        if episode.index in indices:
            assert gate.wait(60)
            raise OSError("no room for the statistics")
        return seal(episode)

    monkeypatch.setattr(Episode, "seal", failing)
    return gate


def tick_for(observer: Observer, limit_s: float) -> None:
    """Tick again and again until it raises."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        observer.tick()


CALLS: dict[str, Any] = {
    "end_episode": lambda observer: observer.end_episode(),
    "discard_episode": lambda observer: observer.discard_episode("bad"),
    "end_session": lambda observer: observer.end_session(),
}


@pytest.mark.parametrize("call", list(CALLS))
def test_a_failure_behind_the_back_is_raised_by_the_next_call(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """And the call does its work: the open episode ends as it should."""
    gate = refuse_to_seal(monkeypatch, 0)
    world, desk = World(), Desk(Decision.APPROVED)
    observer = Observer(client, [toy(world)], desk, data_hz=100)
    observer.start_session("s")
    observer.tick()
    first = observer.begin_episode()
    run(observer, world, 3)
    second = observer.end_and_begin_next()
    run(observer, world, 3)
    gate.set()
    with pytest.raises(EpisodeFailed, match="no room for the statistics") as failed:
        CALLS[call](observer)
    assert failed.value.sequence == first
    assert observer.recording is False
    assert observer.last_error is failed.value
    expected = {first: "failed"} | ({} if call == "discard_episode" else {second: "completed"})
    assert outcomes(client) == expected
    if call != "end_session":
        observer.end_session()
    assert isinstance(desk.reports, Reports)
    assert [report["index"] for report in desk.reports.submitted] == [0, 1]
    assert len(desk.reports.stopped) == 1
    assert observer.state is DataState.IDLE


def test_a_failure_behind_the_back_does_not_end_the_open_episode(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tick() tells it, once; the recording goes on without a hole."""
    gate = refuse_to_seal(monkeypatch, 0)
    world = World()
    observer = started(client, [toy(world)], data_hz=100)
    first = observer.begin_episode()
    run(observer, world, 3)
    second = observer.end_and_begin_next()
    run(observer, world, 3)
    assert observer.tick() is DataState.RECORDING
    gate.set()
    with pytest.raises(EpisodeFailed, match="no room"):
        tick_for(observer, 60)
    assert observer.tick() is DataState.RECORDING
    assert observer.episode == second
    run(observer, world, 3)
    observer.end_session()
    assert outcomes(client) == {first: "failed", second: "completed"}
    assert len(rows_of(client, second, "frames")) == 5


def test_two_failures_are_both_kept(client: gapless.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is raised; both are in the store, and an exception of the program is not hidden by them."""
    gate = refuse_to_seal(monkeypatch, 0, 1)
    world = World()

    def program() -> None:
        with started(client, [toy(world)], data_hz=100) as observer:
            observer.begin_episode()
            observer.end_and_begin_next()
            observer.end_and_begin_next()
            run(observer, world, 2)
            gate.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        program()
    assert any("no room" in note for note in raised.value.__notes__)
    assert list(outcomes(client).values()) == ["failed"] * 3


# -- numbers -----------------------------------------------------------------------------------


def test_numbers_go_on_and_are_never_used_again(client: gapless.Client) -> None:
    """After discarded and failed episodes, in later sessions and with other clients."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        assert observer.begin_episode() == "s/episode-000000"
        run(observer, world, 3)
        observer.end_episode()
        before = hashes(client.sequence_handler("s/episode-000000").path)
        assert observer.begin_episode() == "s/episode-000001"
        observer.discard_episode("the last one")
    with started(gapless.connect(client.path), [toy(World())], data_hz=100) as observer:
        assert observer.begin_episode() == "s/episode-000002"
        observer.discard_episode("again")
        assert observer.begin_episode() == "s/episode-000003"
    with client.sequence_create("s/episode-\N{SUPERSCRIPT TWO}"), client.sequence_create("s/episode-x"):
        pass
    with Observer(client, [toy(World())]) as observer:
        observer.start_session("s")
        observer.tick()
        assert observer.begin_episode() == "s/episode-000004"
    with Observer(client, [toy(World())]) as observer:
        observer.start_session("other")
        observer.tick()
        assert observer.begin_episode() == "other/episode-000000"
    assert hashes(client.sequence_handler("s/episode-000000").path) == before


KILLED = """
import os, signal, sys
import gapless
from tests.observe.toy import World, run, started, toy
world = World()
observer = started(gapless.connect(sys.argv[1]), [toy(world)], data_hz=100)
observer.begin_episode()
run(observer, world, 3)
observer.end_episode()
observer.begin_episode()
run(observer, world, 4)
observer._episode.sequence.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_after_a_crash_the_next_number_follows(client: gapless.Client) -> None:
    """The open episode is recovered as interrupted, with its rows; the sealed one does not change."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(client.path)], cwd=ROOT, env=environment, timeout=120, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    first = client.sequence_handler("s/episode-000000").path
    before = hashes(first)
    with started(client, [toy(World())], data_hz=100) as observer:
        assert observer.begin_episode() == "s/episode-000002"
    assert outcomes(client) == {
        "s/episode-000000": "completed",
        "s/episode-000001": "interrupted",
        "s/episode-000002": "completed",
    }
    assert len(rows_of(client, "s/episode-000001", "frames")) == 4
    assert len(list(client.sequence_handler("s/episode-000001").topic("eye").frames())) == 4
    assert rows_of(client, "s/episode-000001", "episode") == []
    assert hashes(first) == before


@pytest.mark.parametrize("session", ["", "@last", "a\0b", 5])
def test_a_session_is_named_like_a_sequence(client: gapless.Client, session: Any) -> None:
    """Before anything is asked."""
    desk = Desk()
    observer = Observer(client, [toy(World())], desk)
    with pytest.raises((NameRefused, UsageError)):
        observer.start_session(session)
    assert (desk.asked, observer.state) == ([], DataState.IDLE)


# -- what stays --------------------------------------------------------------------------------


def test_a_discarded_episode_leaves_a_tombstone(client: gapless.Client) -> None:
    """Its words, its ledger and the reason; nothing under sequences/."""
    world = World()
    observer = started(client, [toy(world)], data_hz=100)
    name = observer.begin_episode(seed=3, metadata={"who": "a"})
    run(observer, world, 3)
    world.step = 6
    observer.observe(6, world.time_ns)
    with pytest.raises(UsageError, match="reason"):
        observer.discard_episode(" ")
    observer.discard_episode("the cube was not there")
    observer.end_session()
    assert client.list_sequences() == []
    assert list((client.path / "sequences").iterdir()) == []
    [tombstone] = client.list_discarded()
    assert tombstone["name"] == name
    assert tombstone["reason"] == "the cube was not there"
    assert tombstone["outcome"] is None
    assert tombstone["metadata"]["who"] == "a"
    assert tombstone["metadata"]["episode"]["seed"] == 3
    assert tombstone["rows"]["frames"] == tombstone["rows"]["eye/frames"] == 4
    ledger = tombstone["ledger"]
    assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
    assert ledger["written"] == sum(tombstone["rows"].values())
    assert ledger["gapped"] == 4 * 3, "three ticks of four topics"
    [file] = (client.path / "discarded").glob("*.json")
    assert json.loads(file.read_text())["reason"] == "the cube was not there"


def test_artifacts_and_statistics_are_sealed_with_each_episode(client: gapless.Client) -> None:
    """The recorders' files, and figures that are numpy's."""
    world = World()
    with started(client, [toy(world)], data_hz=100) as observer:
        observer.begin_episode()
        run(observer, world, 50)
        observer.end_and_begin_next()
        run(observer, world, 20)
    for name, rows in (("s/episode-000000", 50), ("s/episode-000001", 20)):
        handler = client.sequence_handler(name)
        assert set(handler.artifacts) == {"toy.txt", "statistics.json"}
        assert handler.artifact_path("toy.txt").read_bytes() == b"a toy\n"
        figures = json.loads(handler.artifact_path("statistics.json").read_bytes())
        angle = np.array(column(client, name, "wheel", "angle"))
        found = figures["topics"]["wheel"]["columns"]["angle"]
        assert (found["count"], found["min"], found["max"]) == (rows, angle.min(), angle.max())
        assert found["mean"] == pytest.approx(float(angle.mean()), rel=1e-12)
        assert found["std"] == pytest.approx(float(angle.std()), rel=1e-12)
        for quantile, part in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
            assert found[quantile] == pytest.approx(float(np.quantile(angle, part)), rel=1e-12)
        assert set(figures["topics"]) == {"wheel"}
        assert figures["cameras"]["eye"]["pictures"] == len(range(0, rows, 16))
        assert handler.topic("wheel").end_ns == (49 + 20 * (rows == 20) - (rows == 20)) * DT_NS


def test_an_episode_on_a_server_is_whole(tmp_path: Path) -> None:
    """Rows, pictures, the recorders' files and the statistics are sealed there as in a folder."""
    world = World()
    with (
        Server(tmp_path / "served", "127.0.0.1", 0, doors=[NativeWriting, NativeReading]) as server,
        gapless.connect(server.url) as client,
    ):
        with started(client, [toy(world)], data_hz=100) as observer:
            observer.begin_episode()
            run(observer, world, 20)
            name = observer.end_episode(success=True)
        assert client.sequence_handler(name).outcome == "completed"
    with gapless.connect(tmp_path / "served") as local:
        sealed = local.sequence_handler(name)
        assert set(sealed.artifacts) == {"toy.txt", "statistics.json"}
        assert sealed.artifact_path("toy.txt").read_bytes() == b"a toy\n"
        figures = json.loads(sealed.artifact_path("statistics.json").read_bytes())
        assert figures["topics"]["wheel"]["rows"] == sealed.topic("wheel").rows == 20


def test_an_episode_without_a_step_is_an_episode(client: gapless.Client) -> None:
    """All its topics are there and empty."""
    with started(client, [toy(World())]) as observer:
        name = observer.begin_episode()
        observer.end_episode(success=False)
    assert outcomes(client) == {name: "completed"}
    assert client.sequence_handler(name).topic("frames").rows == 0
    assert [tuple(row.values())[1:] for row in rows_of(client, name, "episode")] == [(False, 0, "ended")]


@pytest.mark.parametrize("success", [True, False, None, np.True_, np.False_])
def test_success_is_apart_from_the_outcome(client: gapless.Client, success: Any) -> None:
    """A task that was not done is a complete recording."""
    with started(client, [toy(World())]) as observer:
        name = observer.begin_episode()
        observer.observe(0, 0)
        observer.end_episode(success)
    [ended] = rows_of(client, name, "episode")
    assert ended["success"] is (None if success is None else bool(success))
    assert client.sequence_handler(name).outcome == "completed"
