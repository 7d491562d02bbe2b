"""The promises of a recording: complete or not called so, the same bytes for the same seed, sealed last."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

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
    flush,
    outcomes,
    rows_of,
    run,
    started,
    toy,
)

import gapless
from gapless.errors import EpisodeFailed, GaplessError, RecordingFailed, StorageFailed
from gapless.observe.approval import Decision
from gapless.observe.observer import Observer
from gapless.observe.state import DataState
from gapless.testing.faults import Fault, FaultyPlatform

FAULTS = [
    Fault("write", 1, errno.ENOSPC),
    Fault("write", 3, errno.ENOSPC),
    Fault("data_sync", 1, errno.EIO),
    Fault("data_sync", 2, errno.EIO, once=True),
    Fault("sync_file", 1, errno.EIO),
    Fault("sync_directory", 1, errno.EIO),
    Fault("create", 1, errno.ENOSPC),
]


def faults_id(fault: Fault) -> str:
    """Name a fault."""
    return f"{fault.operation}-{fault.nth}"


def connect(folder: Path, platform: FaultyPlatform) -> gapless.Client:
    """Return a client whose syncs come often and whose waits are short."""
    return gapless.connect(folder, platform=platform, flush_ms=5, deadline_s=10)


# -- the disk fails ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment", ["hooks", "end_episode", "end_and_begin_next", "discard_episode", "with-block"]
)
@pytest.mark.parametrize("fault", FAULTS, ids=faults_id)
def test_no_episode_is_completed_on_a_failing_disk(tmp_path: Path, fault: Fault, moment: str) -> None:
    """The error is typed and reaches the program; nothing claims to be complete that is not, whatever is done."""
    platform, world, desk, reports = FaultyPlatform(), World(), Desk(Decision.APPROVED), Reports()
    desk.reports = reports
    client = connect(tmp_path / "store", platform)
    observer = Observer(client, [toy(world)], desk, data_hz=100)
    observer.start_session("s")
    observer.tick()
    sealed = observer.begin_episode()
    run(observer, world, 5)
    observer.end_episode(success=True)
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in files_of(client, sealed)}
    broken = observer.begin_episode()
    run(observer, world, 5)
    platform.plan(fault)
    raised = drive(observer, world, moment)
    hit = list(platform.failed)
    platform.heal()
    assert raised is None or hit
    found = outcomes(client)
    told = {report["sequence"]: report["outcome"] for report in reports.submitted}
    for name, outcome in found.items():
        assert (outcome == "completed") == (told.get(name) == "completed")
    if raised is None:
        assert found.get(broken) == (None if moment == "discard_episode" else "completed")
    elif moment != "end_and_begin_next":  # there it may be the next one that met the fault
        assert found.get(broken) != "completed"
    desk.reports = Reports()
    later = go_on(observer)
    assert {p: hashlib.sha256(p.read_bytes()).digest() for p in before} == before
    client.close()
    check_completed(gapless.connect(tmp_path / "store"), {sealed, later})


def check_completed(client: gapless.Client, certain: set[str]) -> None:
    """What is called completed, now or after a recovery, is whole."""
    with client.sequence_create("recovers what has no owner"):
        pass
    found = outcomes(client)
    assert "open" not in found.values()
    completed = {name for name, outcome in found.items() if outcome == "completed" and name.startswith("s/")}
    assert completed >= certain
    for name in completed:
        assert client.verify(name, deep=True) == []
        [ended] = rows_of(client, name, "episode")
        for topic in ("frames", "wheel", "eye", "eye/frames"):
            assert len(rows_of(client, name, topic)) == ended["frames"]


def files_of(client: gapless.Client, name: str) -> list[Path]:
    """Return the files of a sequence."""
    return [path for path in client.sequence_handler(name).path.rglob("*") if path.is_file()]


def drive(observer: Observer, world: World, moment: str) -> GaplessError | None:
    """Go on until the moment's call is through; return what was raised."""
    try:
        if moment == "hooks":
            for _ in range(3):
                run(observer, world, 40)
            observer.end_episode(success=True)
        elif moment == "end_episode":
            observer.end_episode(success=True)
        elif moment == "end_and_begin_next":
            observer.end_and_begin_next()
            observer.end_episode(success=True)
        elif moment == "discard_episode":
            observer.discard_episode("it was nothing")
        else:
            with observer:
                run(observer, world, 5)
    except GaplessError as error:
        return error
    return None


def go_on(observer: Observer) -> str:
    """Record one more episode on the disk that is well again; return its name."""
    if observer.state in (DataState.IDLE, DataState.INTERRUPTED):
        observer.start_session("s")
        observer.tick()
    if observer.recording:
        observer.end_episode()
    name = observer.begin_episode()
    run(observer, World(), 3)
    observer.end_session()
    return name


@pytest.mark.parametrize(
    "fault", [Fault("create"), Fault("write", 1, errno.ENOSPC), Fault("data_sync")], ids=faults_id
)
def test_an_episode_that_cannot_be_opened_is_none(tmp_path: Path, fault: Fault) -> None:
    """The begin raises, no lock stays behind, and the next one works when the disk is well again."""
    platform = FaultyPlatform()
    client = connect(tmp_path / "store", platform)
    observer = started(client, [toy(World())], data_hz=100)
    platform.plan(fault)
    with pytest.raises(RecordingFailed):
        begin_and_end(observer)
    assert isinstance(observer.last_error, RecordingFailed)
    assert (observer.state, observer.recording) == (DataState.FAILED, False)
    platform.heal()
    name = observer.begin_episode()
    assert observer.state is DataState.RECORDING
    observer.end_session()
    found = outcomes(client)
    assert found.pop(name) == "completed"
    assert "completed" not in found.values()
    assert not any(client.sequence_handler(other).owner_alive for other in found)


def begin_and_end(observer: Observer) -> None:
    """Record nothing."""
    observer.begin_episode()
    observer.end_episode()


def test_a_recorder_that_cannot_begin_leaves_no_episode(tmp_path: Path) -> None:
    """Its error is behind a typed one; a tombstone says why, and the session goes on."""

    class Shy(Toy):
        ready = False

        def begin(self) -> None:
            if not self.ready:
                raise OSError("not yet")

    client = gapless.connect(tmp_path / "store")
    shy = Shy("toy", [Wheel(World())])
    with started(client, [shy]) as observer:
        with pytest.raises(EpisodeFailed, match="not yet") as failed:
            observer.begin_episode()
        assert isinstance(failed.value.__cause__, OSError)
        assert (observer.state, observer.last_error) == (DataState.FAILED, failed.value)
        shy.ready = True
        name = observer.begin_episode()
    assert outcomes(client) == {name: "completed"}
    [tombstone] = client.list_discarded()
    assert (tombstone["name"], name) == ("s/episode-000000", "s/episode-000001")
    assert "not yet" in tombstone["reason"]


def test_a_full_disk_is_said_to_be_full(tmp_path: Path) -> None:
    """The words of the system reach last_error, and the rows before it can be read."""
    platform, world = FaultyPlatform(), World()
    client = connect(tmp_path / "store", platform)
    observer = started(client, [toy(world, cameras=False)], data_hz=100)
    name = observer.begin_episode()
    run(observer, world, 5)
    flush(observer)
    platform.plan(Fault("write", 1, errno.ENOSPC))
    with pytest.raises(StorageFailed, match="No space left"):
        observer.end_episode()
    assert isinstance(observer.last_error, StorageFailed)
    platform.heal()
    observer.end_session()
    assert outcomes(client)[name] != "completed"
    assert column(client, name, "wheel", "angle") == [step / 64 for step in range(5)]


# -- the same seed -----------------------------------------------------------------------------


def digest(folder: Path, seed: int, **options: Any) -> str | None:
    """Record a session of two episodes in a new store and return what identifies the second one."""
    client = gapless.connect(folder, **options)
    world = World(seed)
    cameras = [Eye(world), Eye(world, "depth", media="png")]
    with started(client, [Toy("toy", [Wheel(world)], cameras)], data_hz=100, deterministic=True) as observer:
        observer.begin_episode(seed=seed)
        run(observer, world, 40)
        world.reset()
        name = observer.end_and_begin_next(success=True, seed=seed + 1)
        run(observer, world, 35)
        world.reset()
        observer.soft_reset()
        run(observer, world, 10)
        observer.end_episode(success=True)
    return client.sequence_handler(name).content_digest


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """However often the disk is synced and however many encoders work; another seed gives others."""
    first = digest(tmp_path / "a", 7)
    assert first is not None
    assert first == digest(tmp_path / "b", 7)
    assert first == digest(tmp_path / "c" / "deeper", 7, flush_ms=1, max_encoders=1)
    assert first != digest(tmp_path / "d", 8)


def test_an_episode_knows_no_time_of_day_and_no_place(tmp_path: Path) -> None:
    """What is in its identity comes from the simulation alone."""
    digest(tmp_path / "a", 7)
    client = gapless.connect(tmp_path / "a")
    handler = client.sequence_handler("s/episode-000001")
    assert handler.reader.manifest is not None
    content = json.dumps(handler.reader.manifest["content"])
    assert str(tmp_path) not in content
    assert handler.end_ns == 44 * DT_NS
    assert {handler.topic(name).clock for name in handler.topics} <= {"producer", "unknown"}


# -- sealed last -------------------------------------------------------------------------------


def test_an_open_episode_does_not_claim_to_be_complete(tmp_path: Path) -> None:
    """No manifest before the end; readers see it as open, without the row that ends it."""
    client = gapless.connect(tmp_path / "store")
    world = World()
    observer = started(client, [toy(world)], data_hz=100)
    name = observer.begin_episode()
    run(observer, world, 20)
    flush(observer)
    handler = client.sequence_handler(name)
    assert (handler.state, handler.outcome, handler.content_digest) == ("open", None, None)
    assert handler.topic("frames").rows == 20
    assert handler.topic("episode").rows == 0
    observer.end_session()
    handler.reload()
    assert (handler.state, handler.outcome) == ("sealed", "completed")
    assert handler.topic("episode").rows == 1


# -- long runs ---------------------------------------------------------------------------------


def test_rows_leave_no_objects_behind(tmp_path: Path) -> None:
    """Ten times the rows keep no more Python objects: neither of rows nor of pictures."""
    client = gapless.connect(tmp_path / "store")
    world = World()
    observer = started(client, [toy(world)], data_hz=100)
    observer.begin_episode()
    run(observer, world, 300)
    flush(observer)
    tracemalloc.start()
    try:
        kept = [blocks_after(observer, world, rows) for rows in (300, 3000)]
    finally:
        tracemalloc.stop()
    observer.end_session()
    assert kept[1] < 1000, kept


def blocks_after(observer: Observer, world: World, rows: int) -> int:
    """Return how many more blocks of memory are in use after so many rows."""
    gc.collect()
    before = blocks()
    for _ in range(rows):
        world.step += 1
        observer.observe(world.step, world.time_ns)
    flush(observer)
    gc.collect()
    return blocks() - before


def blocks() -> int:
    """Return how many blocks of Python's memory are in use."""
    return sum(statistic.count for statistic in tracemalloc.take_snapshot().statistics("filename"))
