"""Spools that lost something on their disk: the rest is delivered, and what is lost is told on the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import NUMBERS, assert_counted, server, spooling, stored

import gapless
from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection, Endpoint
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.deliver import deliver_all
from gapless.client.remote.lane_way import opening_words
from gapless.client.remote.spool import SpoolStore
from gapless.client.remote.spool_warning import SpoolWarning
from gapless.errors import DeliveryFailed, Unreachable
from gapless.serve.server import Server
from gapless.store import journal
from gapless.store.frame import Frame, Kind, scan
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM
from gapless.store.recover import read_header, segment_paths

AWAY = "grpc://127.0.0.1:9"
FIRST_TOPIC = 16


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def record(
    spool: Path, name: str, notes: Callable[[gapless.SequenceWriter], None] = lambda seq: None
) -> None:
    """Spool fifty rows in five frames, and what ``notes`` adds."""
    with spooling(AWAY, spool) as client, client.sequence_create(name) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        for n in range(50):
            topic.push_row(n, 0.0, n)
            if n % 10 == 9:
                seq.flush()
        notes(seq)


def damage(bundle: Bundle, chosen: Callable[[Frame], bool], which: int) -> None:
    """Flip a bit in the payload of one of the frames that are chosen."""
    nonce = read_header(bundle)["nonce"]
    found = [
        (path, item)
        for path in segment_paths(bundle)
        for item in scan(path, nonce)
        if isinstance(item, Frame) and chosen(item)
    ]
    path, frame = found[which]
    raw = bytearray(path.read_bytes())
    raw[frame.payload_offset + 3] ^= 1
    path.write_bytes(raw)


def is_rows(frame: Frame) -> bool:
    """Tell whether it holds rows of the topic."""
    return frame.header.topic == FIRST_TOPIC and frame.header.kind in (Kind.PACKED, Kind.ARROW)


def is_note(frame: Frame) -> bool:
    """Tell whether it is a gap or an artifact."""
    return frame.header.kind in (Kind.GAP, Kind.ARTIFACT)


def deliver(spool: Path, running: Server) -> dict[str, Any]:
    """Deliver everything and return what hindered it."""
    pool = ConnectionPool(Endpoint.of(running.url))
    try:
        return dict(deliver_all(spool, pool, timeout_s=30)[1])
    finally:
        pool.close()


def causes(root: Path, name: str) -> list[str]:
    """Return the causes of the gaps of a sequence, in their order."""
    return [str(cause) for cause in stored(root, name, "_gaps")["cause"].to_pylist()]


@pytest.mark.parametrize("which", [0, 2, 4])
def test_damaged_rows_are_told_wherever_they_were(root: Path, spool: Path, which: int) -> None:
    """At the end too, where only the recorder's count tells of them."""
    record(spool, "rows")
    damage(SpoolStore(spool).bundle("rows"), is_rows, which)
    with server(root) as running:
        assert deliver(spool, running) == {}
    with gapless.connect(root) as local:
        handler = local.sequence_handler("rows")
        assert handler.outcome == "completed"
        assert handler.topic("t").ledger == {"produced": 50, "written": 40, "dropped": 10, "gapped": 0}
    expected = [n for n in range(50) if n // 10 != which]
    assert stored(root, "rows", "t")["n"].to_pylist() == expected
    assert causes(root, "rows") == ["the spool is damaged"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_damaged_note_takes_its_place_as_a_gap(root: Path, spool: Path, tmp_path: Path, which: int) -> None:
    """Whichever it was, the others keep their own and the sequence is ended."""
    file = tmp_path / "file"
    file.write_bytes(b"bytes")

    def notes(seq: gapless.SequenceWriter) -> None:
        topic = seq.get_topic_writer("t")
        topic.gap(1, "first")
        seq.add_artifact(file)
        topic.gap(2, "last")

    record(spool, "notes", notes)
    damage(SpoolStore(spool).bundle("notes"), is_note, which)
    with server(root) as running:
        assert deliver(spool, running) == {}
    lost = "the spool is damaged: a gap or an artifact is lost"
    kept = [cause for n, cause in enumerate(["first", "", "last"]) if cause and n != which]
    assert sorted(causes(root, "notes")) == sorted([lost, *kept])
    with gapless.connect(root) as local:
        assert list(local.sequence_handler("notes").artifacts) == ([] if which == 1 else ["file"])
        assert local.sequence_handler("notes").outcome == "completed"


@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_file_is_not_delivered_as_if_it_were_whole(
    root: Path, spool: Path, tmp_path: Path, gone: bool
) -> None:
    """A gap names it instead, and what is left of it stays in the spool's trash."""
    file = tmp_path / "file"
    file.write_bytes(b"bytes")

    def add(seq: gapless.SequenceWriter) -> None:
        seq.add_artifact(file)

    record(spool, "file", add)
    here = SpoolStore(spool).bundle("file").artifacts / "file"
    if gone:
        here.unlink()
    else:
        here.write_bytes(b"bytez")
    with server(root) as running:
        assert deliver(spool, running) == {}
        age_trash(spool)
        deliver(spool, running)
    assert causes(root, "file") == ["the spool is damaged: artifact 'file' is lost"]
    assert [path.name for path in (spool / "trash").iterdir()] == ["file-1"]


def test_a_damaged_declaration_is_in_a_second_copy(root: Path, spool: Path) -> None:
    """With both gone the rows stay where they are, and a typed error names them."""
    record(spool, "declared")
    record(spool, "lost")
    for name in ("declared", "lost"):
        damage(SpoolStore(spool).bundle(name), lambda frame: frame.header.kind == Kind.TOPIC, -1)
    (SpoolStore(spool).bundle("lost").journal / "topics.jsonl").unlink()
    with server(root) as running:
        hindered = deliver(spool, running)
    assert list(hindered) == ["lost"]
    assert isinstance(hindered["lost"], DeliveryFailed)
    assert_counted(stored(root, "declared", "t"), 50)


def age_trash(spool: Path) -> None:
    """Make what is in the spool's trash two days old."""
    for path in [*(spool / "trash").glob("*/tombstone.json"), *(spool / "discarded").glob("*.json")]:
        words = json.loads(path.read_bytes())
        path.write_text(json.dumps(words | {"discarded_ns": words["discarded_ns"] - 48 * 3600 * 10**9}))


def test_what_was_delivered_is_deleted_a_day_later(root: Path, spool: Path) -> None:
    """A spool does not grow for ever; the tombstone tells where its rows went."""
    record(spool, "old")
    with server(root) as running:
        deliver(spool, running)
        age_trash(spool)
        record(spool, "new")
        deliver(spool, running)
        deliver(spool, running)
        url = running.url
    assert [path.name for path in (spool / "trash").iterdir()] == ["new-1"]
    words = json.loads((spool / "discarded" / "old-1.json").read_bytes())
    assert words["delivered_to"] == url


def test_a_damaged_tombstone_hinders_no_delivery(root: Path, spool: Path) -> None:
    """Neither where it stays for ever nor in the trash: what it was about stays, all else is delivered."""
    record(spool, "old")
    record(spool, "older")
    with server(root) as running:
        deliver(spool, running)
        age_trash(spool)
        (spool / "discarded" / "old-1.json").write_bytes(b"\xff{")
        (spool / "trash" / "older-1" / "tombstone.json").write_bytes(b"\xff{")
        record(spool, "new")
        assert deliver(spool, running) == {}
    assert_counted(stored(root, "new", "t"), 50)
    assert sorted(path.name for path in (spool / "trash").iterdir()) == ["new-1", "older-1"]


def test_a_delivery_purges_nothing_that_somebody_discarded(root: Path, spool: Path) -> None:
    """A spool may lie in a store: what a person put into its trash stays until that person says so."""
    with gapless.connect(spool) as local:
        with local.sequence_create("mine") as seq:
            seq.log("x", 1.0)
        local.discard("mine")
    record(spool, "rows")
    with server(root) as running:
        deliver(spool, running)
        age_trash(spool)
        deliver(spool, running)
    assert [path.name for path in (spool / "trash").iterdir()] == ["mine-1"]


@pytest.mark.parametrize("ended", [True, False])
def test_damage_that_an_earlier_attempt_told_is_not_forgotten(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """The attempt broke at the end, before or after the server sealed: the damaged copy stays all the same."""
    record(spool, "rows")
    damage(SpoolStore(spool).bundle("rows"), is_rows, 2)
    action = Connection.action

    def broken(connection: Connection, kind: str, *words: Any, **known: Any) -> dict[str, Any]:
        if kind == protocol.END:
            if ended:
                action(connection, kind, *words, **known)
            raise Unreachable("the answer to the end is lost")
        return action(connection, kind, *words, **known)

    with server(root) as running:
        monkeypatch.setattr(Connection, "action", broken)
        assert isinstance(deliver(spool, running)["rows"], Unreachable)
        monkeypatch.setattr(Connection, "action", action)
        assert deliver(spool, running) == {}
        age_trash(spool)
        deliver(spool, running)
    assert [path.name for path in (spool / "trash").iterdir()] == ["rows-1"]
    with gapless.connect(root) as local:
        assert local.sequence_handler("rows").topic("t").ledger["dropped"] == 10


_KILLED = """
import os, signal, sys, pyarrow as pa, gapless
client = gapless.connect(sys.argv[1], spool=sys.argv[2], flush_ms=10)
seq = client.sequence_create("killed").__enter__()
topic = seq.topic_create("t", schema=pa.schema([pa.field("x", pa.float64()), pa.field("n", pa.int64())]))
for n in range(50):
    topic.push_row(n, 0.0, n)
    if n % 10 == 9:
        seq.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def record_and_die(spool: Path) -> Bundle:
    """Spool fifty rows in a process that is killed; return what it left."""
    died = subprocess.run(
        [sys.executable, "-c", _KILLED, AWAY, str(spool)], check=False, env=dict(os.environ)
    )
    assert died.returncode == -signal.SIGKILL
    return SpoolStore(spool).bundle("killed")


def test_durable_rows_of_a_killed_recorder_that_are_damaged_are_told(root: Path, spool: Path) -> None:
    """Nobody counted them, but the watermark says that they were there."""
    damage(record_and_die(spool), is_rows, -1)
    with server(root) as running:
        assert deliver(spool, running) == {}
    with gapless.connect(root) as local:
        handler = local.sequence_handler("killed")
        assert handler.outcome == "interrupted"
        assert handler.topic("t").ledger == {"produced": 50, "written": 40, "dropped": 10, "gapped": 0}


def test_a_note_that_the_dead_recorder_never_heard_of_is_counted(root: Path, spool: Path) -> None:
    """The server took it, and the recorder died before it learned that."""
    bundle = record_and_die(spool)
    header = read_header(bundle)
    gap = {"timestamp_ns": 1, "topic": "t", "first_seq": None, "count": 3, "end_ns": None, "cause": "there"}
    note = {"name": "killed", "uid": header["uid"], "n": 0, "kind": "gap", "document": gap}
    with server(root) as running:
        pool = ConnectionPool(Endpoint.of(running.url))
        with pool.connection() as connection:
            connection.action(protocol.OPEN, opening_words(header))
            connection.action(protocol.NOTE, note)
        pool.close()
        assert deliver(spool, running) == {}
    with gapless.connect(root) as local:
        handler = local.sequence_handler("killed")
        assert handler.outcome == "interrupted"
        assert handler.topic("t").ledger == {"produced": 53, "written": 50, "dropped": 0, "gapped": 3}


def test_a_pending_sequence_tells_what_its_spool_lost(root: Path, spool: Path) -> None:
    """A sequence that is kept after an error is asked for no rows, and misses none silently."""

    def fail() -> None:
        with (
            gapless.connect(AWAY, spool=spool) as client,
            client.sequence_create("kept", on_error=gapless.OnErrorPolicy.Report) as seq,
        ):
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            topic.push_row(1, 0.0, 1)
            seq.flush()
            raise ZeroDivisionError

    with pytest.warns(SpoolWarning), pytest.raises(ZeroDivisionError):
        fail()
    bundle = SpoolStore(spool).bundle("kept")
    damage(bundle, is_rows, -1)
    with server(root) as running:
        assert deliver(spool, running) == {}
    with gapless.connect(root) as local:
        assert local.sequence_handler("kept").state == "pending"
        local.seal("kept")
        ledger = local.sequence_handler("kept").topic("t").ledger
    assert ledger == {"produced": 2, "written": 1, "dropped": 1, "gapped": 0}


def test_a_spool_of_before_the_counts_is_delivered(root: Path, spool: Path) -> None:
    """Its request alone tells what there was."""
    record(spool, "before")
    bundle = SpoolStore(spool).bundle("before")
    words = journal.read_checked(bundle.journal / "delivery.json")
    assert words is not None
    del words["offered"]
    journal.write_checked(bundle.journal / "delivery.json", words, PLATFORM)
    damage(bundle, is_rows, -1)
    with server(root) as running:
        assert deliver(spool, running) == {}
    assert_counted(stored(root, "before", "t"), 40)


def test_a_note_that_the_server_has_is_no_loss(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was damaged here behind an attempt that brought it there whole: nothing marks the sequence as damaged."""
    record(spool, "known", lambda seq: seq.get_topic_writer("t").gap(1, "there"))
    action = Connection.action

    def broken(connection: Connection, kind: str, *words: Any, **known: Any) -> dict[str, Any]:
        if kind == protocol.END:
            raise Unreachable("the end does not arrive")
        return action(connection, kind, *words, **known)

    with server(root) as running:
        monkeypatch.setattr(Connection, "action", broken)
        assert isinstance(deliver(spool, running)["known"], Unreachable)
        monkeypatch.setattr(Connection, "action", action)
        damage(SpoolStore(spool).bundle("known"), is_note, 0)
        assert deliver(spool, running) == {}
    assert causes(root, "known") == ["there"]
    (tombstone,) = (spool / "discarded").glob("*.json")
    assert json.loads(tombstone.read_bytes())["damaged"] is False
