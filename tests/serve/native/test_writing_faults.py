"""Deaths of client and server, full disks, many writers: every accepted row is there once, and only ends seal."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import flight
from tests.serve.native.raw_writer import DEADLINE_S, RawLane, RawWriter, chunk
from tests.serve.native.server_process import HERE, Process, bundle, local_digest, until

from gapless.catalog.state_database import StateDatabase
from gapless.client.client import connect
from gapless.client.local_recording import LocalRecording
from gapless.client.remote import protocol
from gapless.errors import (
    GaplessError,
    LimitReached,
    NameTaken,
    NotFound,
    RightMissing,
    SequenceOwned,
    ServerClosing,
    ServingFailed,
    StateError,
    StorageFailed,
)
from gapless.serve.keys import make_key
from gapless.serve.limits import Limits
from gapless.serve.native.writing import NativeWriting
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.platform import PLATFORM
from gapless.store.reader import open_bundle
from gapless.store.verify import verify
from gapless.testing.faults import Fault, FaultyPlatform

KILLS = max(4, int(os.environ.get("GAPLESS_KILLS", "200")) // 20)
WRITERS = 100
KEYS = {"owner": Right.WRITE, "other": Right.WRITE, "manager": Right.MANAGE}


@pytest.mark.crash
@pytest.mark.timeout(300 + 10 * KILLS)
def test_a_server_killed_again_and_again_stores_every_row_once(
    root: Path, tmp_path: Path, spawn: Callable[[], Process]
) -> None:
    """The client goes on at the server's next row, which is never before what was accepted."""
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    server = spawn()
    writer = RawWriter(server.url)
    accepted = 0
    for turn in range(KILLS):
        killer = threading.Timer(dice.uniform(0.05, 0.6), server.kill)
        if turn:  # the first server lives until it accepted something, however slow the machine is
            killer.start()
        accepted = max(accepted, push_until_killed(writer, accepted, dice, None if turn else killer))
        killer.join()
        writer.close()
        server = spawn()
        writer.connect(server.url)
        known = writer.open()["topics"].get("t", {"next_seq": 0})["next_seq"]
        assert known >= accepted, f"seed {seed}: {accepted} rows were accepted, {known} are there"
    writer.topic()
    lane = writer.lane()
    count = lane.next_seq + 100
    lane.push(lane.next_seq, count)
    lane.finish()
    answer = writer.end({"t": count})
    server.kill()
    writer.close()
    assert accepted
    assert answer["content_digest"] == local_digest(tmp_path / "local", count)
    assert verify(bundle(root).path, deep=True) == []


def push_until_killed(
    writer: RawWriter, accepted: int, dice: random.Random, killer: threading.Timer | None = None
) -> int:
    """Open, declare and push without an end; return how much the server had accepted when it died.

    A ``killer`` is started when something was accepted.
    """
    lane: RawLane | None = None
    with contextlib.suppress(flight.FlightError, pa.ArrowException, OSError, ServingFailed):
        writer.open(window_ms=5)
        assert writer.topic() >= accepted
        lane = writer.lane()
        first = lane.next_seq
        while True:
            stop = first + dice.choice([1, 7, 60])
            lane.push(first, stop)
            first = stop
            if killer is not None and lane.accepted:
                killer.start()
                killer = None
            time.sleep(0.0005)
    return lane.accepted if lane is not None else 0


@pytest.mark.crash
def test_a_server_killed_while_it_seals_answers_the_same_end_again(
    root: Path, tmp_path: Path, spawn: Callable[[], Process]
) -> None:
    """Whatever the first attempt left, the second seals what was committed, once."""
    assert local_digest(tmp_path / "local", 3000)
    expected = json.loads(bundle(tmp_path / "local").manifest.read_bytes())["content"]["topics"]
    dice = random.Random(7)
    for turn in range(max(3, KILLS // 2)):
        server = spawn()
        writer = RawWriter(server.url, f"run{turn}")
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 3000)
        lane.finish()
        killer = threading.Timer(dice.uniform(0.0, 0.08), server.kill)
        killer.start()
        with contextlib.suppress(
            flight.FlightError, AssertionError, GaplessError
        ):  # killed meanwhile, or not
            writer.end({"t": 3000})
        killer.join()
        writer.close()
        server = spawn()
        writer.connect(server.url)
        answer = writer.end({"t": 3000})
        assert answer["outcome"] == "completed"
        assert answer["manifest"]["content"]["topics"] == expected
        server.kill()
        writer.close()


@pytest.mark.crash
def test_a_killed_client_leaves_an_open_sequence(root: Path, leases: threading.Event) -> None:
    """Nothing is sealed; once its server lets go, recovery finds every accepted row, as interrupted."""
    server = Server(root, "127.0.0.1", 0, limits=Limits(lease_s=0.3), doors=[NativeWriting])
    server.start()
    child = subprocess.Popen(
        [sys.executable, str(HERE / "writing_client.py"), server.url, "run"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    uid = child.stdout.readline().strip()
    accepted = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    child.wait(DEADLINE_S)
    child.stdout.close()
    leases.set()
    until(lambda: not PLATFORM.is_locked(bundle(root).lock), "the server does not let go")
    assert not bundle(root).manifest.exists()
    assert server.served.client.recover("run")["record"]["outcome"] == "interrupted"
    found = open_bundle(bundle(root).path).topic("t").to_arrow()["n"].to_pylist()
    assert found == list(range(len(found)))
    assert len(found) >= max(accepted)
    with RawWriter(server.url) as writer:
        writer.uid = uid
        assert writer.open()["outcome"] == "interrupted"
    server.stop(0.1)


def test_a_stopped_server_leaves_everything_to_the_next(root: Path, started: Callable[..., Server]) -> None:
    """What was taken is durable, nothing is sealed, and the next server goes on for the same client."""
    first = started()
    writer = RawWriter(first.url)
    writer.open()
    writer.topic()
    lane = writer.lane()
    lane.push(0, 500)
    lane.sync(500)
    assert writer.note(0) == 1
    first.stop(0.2)
    assert not bundle(root).manifest.exists()
    (bundle(root).path / "artifacts").mkdir()
    (bundle(root).path / "artifacts" / "never noted").write_bytes(b"x")
    second = started()
    writer.close()
    writer.connect(second.url)
    known = writer.open()
    assert (known["topics"]["t"]["next_seq"], known["notes"]) == (500, 1)
    lane = writer.lane()
    lane.push(500, 600)
    lane.finish()
    writer.end({"t": 600}, notes=1)
    writer.close()
    assert list((bundle(root).path / "artifacts").iterdir()) == []
    assert verify(bundle(root).path, deep=True) == []


def test_a_draining_server_begins_nothing(root: Path, started: Callable[..., Server]) -> None:
    """ServerClosing for a new sequence; one that is open can still be ended."""
    server = started()
    with RawWriter(server.url) as writer, RawWriter(server.url, "new") as other:
        writer.open()
        server.served.draining.set()
        with pytest.raises(ServerClosing):
            other.open()
        assert writer.end({})["outcome"] == "completed"
    assert bundle(root).manifest.exists()


def test_two_servers_of_one_store_never_write_one_journal(started: Callable[..., Server]) -> None:
    """The second one answers SequenceOwned while the first has it."""
    first, second = started(), started()
    with RawWriter(first.url) as writer:
        writer.open()
        writer.close()
        writer.connect(second.url)
        with pytest.raises(SequenceOwned) as caught:
            writer.open()
        assert caught.value.found == "sequences/run/journal/lock", "where the store lies is nobody's concern"
        first.stop(0.1)
        assert writer.open()["state"] == "open"


def test_a_full_disk_is_told_and_passes(root: Path, started: Callable[..., Server]) -> None:
    """The client hears StorageFailed; other sequences go on, and with room again this one does, too."""
    server = started()
    platform = FaultyPlatform()
    server.served.client._store.platform = platform
    with RawWriter(server.url) as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 100)
        lane.sync(100)
        platform.plan(Fault("write", code=errno.ENOSPC))
        lane.push(100, 200)
        assert isinstance(lane.failed(), StorageFailed)
        with pytest.raises(StorageFailed):
            writer.open()
        platform.heal()
        known = writer.open()["topics"]["t"]["next_seq"]
        assert 100 <= known <= 200
        lane = writer.lane()
        lane.push(known, 300)
        lane.finish()
        assert writer.end({"t": 300})["content_digest"] == local_digest(root / "local", 300)


def test_a_disk_that_refuses_the_seal_keeps_the_commit(root: Path, started: Callable[..., Server]) -> None:
    """The rows and the wish to end are durable: asked again with room, the same end is sealed."""
    server = started()
    platform = FaultyPlatform()
    server.served.client._store.platform = platform
    with RawWriter(server.url) as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 100)
        lane.finish()
        platform.plan(Fault("sync_file", code=errno.ENOSPC))
        with pytest.raises(StorageFailed):
            writer.end({"t": 100}, outcome="aborted", cause="enough")
        platform.heal()
        answer = writer.end({"t": 100}, outcome="aborted", cause="enough")
        assert (answer["outcome"], answer["manifest"]["record"]["cause"]) == ("aborted", "enough")
    assert verify(bundle(root).path, deep=True) == []


@pytest.mark.slow
def test_a_hundred_writers_at_one_time(root: Path, spawn: Callable[[], Process]) -> None:
    """Each with a lane; the server has four threads for each at most, and some of its own."""
    server = spawn()
    before = psutil.Process(server.pid).num_threads()
    with ThreadPoolExecutor(10) as pool:
        lanes = list(pool.map(lambda n: begin(server.url, f"run{n}"), range(WRITERS)))
        threads = psutil.Process(server.pid).num_threads()
        list(pool.map(lambda lane: push_and_end(*lane), lanes))
    assert threads - before <= 4 * WRITERS + 100
    for n in range(WRITERS):
        found = open_bundle(bundle(root, f"run{n}").path)
        assert found.topic("t").to_arrow()["n"].to_pylist() == list(range(200))
        assert found.outcome == "completed"
    server.kill()


def begin(url: str, name: str) -> tuple[RawWriter, RawLane]:
    """Open a sequence with a lane."""
    writer = RawWriter(url, name)
    writer.open()
    writer.topic()
    lane = writer.lane()
    lane.push(0, 100)
    return writer, lane


def push_and_end(writer: RawWriter, lane: RawLane) -> None:
    """Push the rest and commit."""
    lane.push(100, 200)
    lane.finish()
    writer.end({"t": 200})
    writer.close()


def test_no_more_writers_than_the_limit(started: Callable[..., Server]) -> None:
    """LimitReached; an end makes room."""
    server = started(max_writers=1)
    with RawWriter(server.url, "a") as first, RawWriter(server.url, "b") as second:
        first.open()
        with pytest.raises(LimitReached):
            second.open()
        first.end({})
        assert second.open()["state"] == "open"


def test_a_key_writes_in_its_groups_only(root: Path, started: Callable[..., Server]) -> None:
    """RightMissing for reading keys and foreign groups; a sequence of another group does not exist."""
    database = StateDatabase(root)
    _, reading = make_key(database, Right.READ)
    _, anywhere = make_key(database, Right.WRITE)
    _, grouped = make_key(database, Right.WRITE, groups=["g"])
    database.close()
    server = started()
    with (
        RawWriter(server.url, token=reading) as reader,
        RawWriter(server.url, token=anywhere) as writer,
        RawWriter(server.url, token=grouped) as member,
    ):
        with pytest.raises(RightMissing):
            reader.open()
        writer.open()
        writer.topic()
        for other in (reader, member):
            other.uid = writer.uid
        for refused in (
            member.open,
            member.topic,
            member.lane,
            lambda: member.note(0),
            lambda: member.end({}),
        ):
            with pytest.raises(NotFound):
                refused()
        with pytest.raises(RightMissing):
            reader.lane()
        member.name, member.uid = "mine", "e" * 32
        for group in (None, "h"):
            with pytest.raises(RightMissing):
                member.open(group=group)
        assert member.open(group="g")["state"] == "open"
        assert member.end({})["outcome"] == "completed"
        words: dict[str, Any] = {"error": "x", "rows": {}, "ledger": None}
        assert writer.action(protocol.DISCARD, tombstone=words) == {"state": "discarded"}


def test_a_recording_belongs_to_the_key_that_began_it(
    root: Path, started: Callable[..., Server], leases: threading.Event
) -> None:
    """Readers are told its uid; nobody but that key, or one that manages, goes on with it or ends it."""
    database = StateDatabase(root)
    tokens = {name: make_key(database, right)[1] for name, right in KEYS.items()}
    database.close()
    server = started(lease_s=0.2)
    writers = {name: RawWriter(server.url, token=token) for name, token in tokens.items()}
    writers["owner"].open()
    writers["owner"].topic()
    for writer in writers.values():
        writer.uid = writers["owner"].uid
    other, owner, manager = writers["other"], writers["owner"], writers["manager"]
    for state in ("open", "left"):
        refusals: list[Callable[[], Any]] = [other.open, lambda: other.end({"t": 0})]
        for refused in refusals:
            with pytest.raises(RightMissing):
                refused()
        if state == "open":
            leases.set()
            until(lambda: not PLATFORM.is_locked(bundle(root).lock), "the server does not let go")
            leases.clear()
    assert owner.open()["state"] == "open"
    assert manager.end({"t": 0}, outcome="aborted")["outcome"] == "aborted"
    for writer in writers.values():
        writer.close()


def test_what_was_recorded_on_the_machine_itself_is_not_ended_from_elsewhere(
    root: Path, started: Callable[..., Server]
) -> None:
    """Whoever knows its uid finds the name taken; nothing is adopted or sealed."""
    with connect(root) as client:
        recording = LocalRecording.begin(
            client, "run", None, client._header("run", None, {}, None), client._durability
        )
    recording.let_go()
    server = started()
    with RawWriter(server.url) as writer:
        writer.uid = recording.header["uid"]
        refusals: list[Callable[[], Any]] = [writer.open, lambda: writer.end({})]
        for refused in refusals:
            with pytest.raises(NameTaken):
                refused()
    assert not bundle(root).manifest.exists()


def test_a_sequence_of_another_group_is_not_told_of(root: Path, started: Callable[..., Server]) -> None:
    """Neither its group, nor how its name is spelled, nor, without the right to write, that it exists."""
    with connect(root) as client, client.sequence_create("Secret", group="h"):
        pass
    database = StateDatabase(root)
    _, reading = make_key(database, Right.READ, groups=["g"])
    _, writing = make_key(database, Right.WRITE, groups=["g"])
    database.close()
    server = started()
    with RawWriter(server.url, "secret", token=reading) as reader, pytest.raises(RightMissing):
        reader.open(group="g")
    with RawWriter(server.url, "secret", token=writing) as writer:
        with pytest.raises(NameTaken) as taken:
            writer.open(group="g")
        assert "Secret" not in str(taken.value)
        with pytest.raises(NotFound) as hidden:
            writer.open(layer_of="Secret")
        with pytest.raises(NotFound) as absent:
            writer.open(layer_of="Absent")
        assert str(hidden.value).replace("Secret", "Absent") == str(absent.value)


def test_an_end_that_somebody_else_decided_is_not_the_clients(
    root: Path, started: Callable[..., Server]
) -> None:
    """Sealed by a person meanwhile, as interrupted or with fewer rows: the client hears of it, every time it asks."""
    first = started()
    writer = RawWriter(first.url)
    writer.open()
    writer.topic()
    lane = writer.lane()
    lane.push(0, 10)
    lane.sync(10)
    first.stop(0.1)
    with connect(root) as client:
        client.recover("run")
    second = started()
    writer.close()
    writer.connect(second.url)
    for asked in (
        {"outcome": "completed"},
        {"topics": {"t": 20}, "outcome": "interrupted"},
        {"topics": {"t": "x"}},
    ):
        with pytest.raises(StateError, match="without its client"):
            writer.end(**({"topics": {"t": 10}} | asked))
    assert writer.end({"t": 10}, outcome="interrupted")["outcome"] == "interrupted"
    writer.close()


def test_other_bytes_are_not_passed_over_as_a_file_that_is_here(
    root: Path, started: Callable[..., Server]
) -> None:
    """Under the number and the name of what was noted, also after the server forgot and took it up again."""
    old, new = (hashlib.sha256(data).hexdigest() for data in (b"old", b"new"))
    uri = {"name": "far", "media_type": "a/b", "uri": "s3://bucket/far"}
    first = started()
    writer = RawWriter(first.url)
    writer.open()
    writer.upload("f", b"old", old, 0)
    writer.action(protocol.NOTE, n=1, kind="artifact", document=uri)
    for again in (False, True):
        if again:
            first.stop(0.1)
            writer.close()
            writer.connect(started().url)
            writer.open()
        writer.upload("f", b"old", old, 0)
        assert writer.action(protocol.NOTE, n=1, kind="artifact", document=uri)["notes"] == 2
        with pytest.raises(StateError, match="another note"):
            writer.upload("f", b"new", new, 0)
        with pytest.raises(StateError, match="another note"):
            writer.action(protocol.NOTE, n=1, kind="artifact", document=uri | {"uri": "s3://bucket/other"})
    writer.end({}, notes=2)
    writer.close()
    assert (bundle(root).artifacts / "f").read_bytes() == b"old"


def test_an_upload_that_was_left_behind_puts_nothing_into_a_sealed_sequence(
    root: Path, started: Callable[..., Server]
) -> None:
    """It ends with an error; the folder holds what the manifest lists."""
    with RawWriter(started().url) as writer:
        writer.open()
        stream = writer.begin_upload("f", hashlib.sha256(b"ab").hexdigest(), 0)
        stream.write_batch(chunk(b"a"))
        until(lambda: any(bundle(root).artifacts.glob("*.upload")), "the upload has begun")
        writer.end({})
        stream.write_batch(chunk(b"b"))
        with pytest.raises(flight.FlightError, match="not open"):
            stream.close()
    assert not [path for path in bundle(root).artifacts.iterdir() if path.name == "f"]
