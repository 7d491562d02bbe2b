"""What a client left: whose it is while its lease lasts, and after."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serve.native.raw_writer import DEADLINE_S, RawWriter
from tests.serve.native.server_process import bundle, local_digest, until

from gapless.catalog.state_database import StateDatabase
from gapless.client.client import Client, connect
from gapless.errors import RecordingFailed, ServingFailed
from gapless.serve.call import Call
from gapless.serve.keys import make_key
from gapless.serve.limits import Limits
from gapless.serve.native.writing_sequence import IncomingSequence
from gapless.serve.native.writing_store import Act
from gapless.serve.native.writing_table import WriterTable
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.platform import PLATFORM


def test_a_server_lets_go_after_the_lease_and_takes_the_client_back(
    root: Path, started: Callable[..., Server], leases: threading.Event
) -> None:
    """Without a connection the journal is nobody's, without an end; opened again, it goes on."""
    server = started(lease_s=0.2)
    with RawWriter(server.url) as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 10)
        lane.sync(10)
        leases.set()
        again = writer.lane()  # as a client does whose first connection is half open
        time.sleep(0.5)
        assert PLATFORM.is_locked(bundle(root).lock), "a connected client keeps its lease"
        again.cut()
        until(lambda: not PLATFORM.is_locked(bundle(root).lock), "the server does not let go")
        with pytest.raises(ServingFailed):
            writer.topic()
        leases.clear()
        assert writer.open()["topics"]["t"]["next_seq"] == 10
        lane = writer.lane()
        lane.push(10, 20)
        lane.finish()
        assert writer.end({"t": 20})["content_digest"] == local_digest(root / "local", 20)


def test_nobody_recovers_what_a_client_elsewhere_may_go_on_with(
    root: Path, started: Callable[..., Server]
) -> None:
    """Not without being asked, for an hour."""
    server = started()
    with RawWriter(server.url) as writer:
        writer.open()
        server.stop(0.1)
        with connect(root) as client:
            with client.sequence_create("other"):
                pass
            assert not bundle(root).manifest.exists()
            for path in bundle(root).journal.glob("*.seg"):
                os.utime(path, ns=(0, time.time_ns() - 3601 * 10**9))
        with connect(root) as client, client.sequence_create("another"):
            assert bundle(root).manifest.exists()


def test_a_client_that_waits_with_its_first_topic_is_there(
    root: Path, leases: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so until a topic's stream does, and an end in the middle of a word of it is an end."""
    touch, touched = IncomingSequence.touch, threading.Semaphore(0)

    def told(sequence: IncomingSequence) -> None:
        touch(sequence)
        touched.release()

    monkeypatch.setattr(IncomingSequence, "touch", told)
    with Server(root, port=0, limits=Limits(lease_s=0.03)) as server, connect(server.url) as client:
        with client.sequence_create("armed") as sequence:
            for _ in range(3):
                assert touched.acquire(timeout=DEADLINE_S), "nothing is heard of the client"
            sequence.log("trigger", 1.0)
        assert client.sequence_handler("armed").outcome == "completed"
        for number in range(20):
            with client.sequence_create(f"short-{number}"):
                touched.acquire(timeout=0.01 * (number % 4))
            assert client.sequence_handler(f"short-{number}").outcome == "completed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gapless-presence")]


def test_a_client_that_waits_hears_that_its_sequence_was_ended(
    root: Path, leases: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only from its first row."""

    def wait_for_a_trigger(client: Client) -> None:
        with client.sequence_create("armed") as armed:
            monkeypatch.setattr(WriterTable, "open", lambda *_: {"state": "sealed"})
            until(lambda: armed._writer.failure is not None, "the client goes on waiting")
            armed.log("trigger", 1.0)

    with (
        Server(root, port=0, limits=Limits(lease_s=0.03)) as server,
        connect(server.url) as client,
        pytest.raises(RecordingFailed, match="by somebody else"),
    ):
        wait_for_a_trigger(client)


def test_the_lease_of_a_former_owner_does_not_end_the_next(
    root: Path, started: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that comes back while its abandoned sequence is let go of keeps what it took up."""
    let_go, slow = IncomingSequence.let_go, threading.Event()

    def late(sequence: IncomingSequence, timeout_s: float | None = None) -> None:
        let_go(sequence, timeout_s)
        if threading.current_thread().name == "gapless-leases":
            assert slow.wait(DEADLINE_S)

    monkeypatch.setattr(IncomingSequence, "let_go", late)
    server = started(lease_s=0.2)
    with RawWriter(server.url) as writer:
        writer.open()
        until(lambda: not PLATFORM.is_locked(bundle(root).lock), "the server does not let go")
        writer.open()
        writer.topic()
        lane = writer.lane()
        slow.set()
        lane.push(0, 10)
        lane.sync(10)
        assert writer.open()["topics"]["t"]["next_seq"] == 10, "open here, not a stranger's"
        lane.finish()
        writer.end({"t": 10})


def test_a_call_that_meets_the_lease_is_told_to_open_again(
    root: Path, started: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a key of a group: found a moment before it is let go of, a sequence keeps its group."""
    database = StateDatabase(root)
    _, token = make_key(database, Right.WRITE, groups=["g"])
    database.close()
    check, ends = WriterTable._check_reach, [True]

    def late(table: WriterTable, call: Call, act: Act, sequence: IncomingSequence) -> None:
        if ends and act.name == "run":
            ends.clear()
            table.forget(sequence)
        check(table, call, act, sequence)

    with RawWriter(started().url, token=token) as writer:
        writer.open(group="g")
        monkeypatch.setattr(WriterTable, "_check_reach", late)
        with pytest.raises(ServingFailed):
            writer.note(0)
        writer.open(group="g")
        assert writer.note(0) == 1
