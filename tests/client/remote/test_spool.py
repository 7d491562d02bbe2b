"""A local store takes over while the server is away, and delivers later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.client.remote.write_server import (
    NUMBERS,
    PATIENCE_S,
    TEXTS,
    ServerProcess,
    assert_counted,
    server,
    spooling,
    stored,
    uplink_threads,
    wait_for,
)

import gapless
from gapless import OnErrorPolicy, TopicErrorPolicy
from gapless.cli.main import main
from gapless.client.remote.remote_client import RemoteClient
from gapless.client.remote.spool import Spool, SpoolStore
from gapless.client.remote.spool_warning import SpoolWarning
from gapless.errors import DeliveryFailed, NameTaken, RecordingFailed, StorageFailed, ValueRefused
from gapless.serve.operations.retention import Retention
from gapless.serve.server import Server
from gapless.store.layout import MAKING
from gapless.testing.network import Link

AWAY = "grpc://127.0.0.1:9"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def waiting(spool: Path) -> int:
    """Return how many sequences wait in a spool."""
    return len(SpoolStore(spool).names())


def record(url: str, spool: Path, name: str, rows: int = 1_000) -> None:
    """Record a sequence of one topic that counts, while its server is away."""
    with spooling(url, spool) as client, client.sequence_create(name, {"k": 1}) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        for n in range(rows):
            topic.push_row(n, 0.0, n)


def record_and_fail(client: gapless.Client, link: Link) -> None:
    """Spool one row of a recording that a refusal ends."""
    with client.sequence_create("failed", on_error=OnErrorPolicy.Report) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        link.cut()
        topic.push_row(0, 0.0, 0)
        seq.flush()
        seq._writer.fail(ValueRefused("what nobody waited for"))  # type: ignore[attr-defined]


def test_a_recording_that_failed_leaves_its_spool_to_the_delivery(
    served: Server, root: Path, spool: Path
) -> None:
    """A refusal ended it without a close: what it spooled is let go of, delivered and kept as pending."""
    with Link(("127.0.0.1", served.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with gapless.connect(url, spool=spool) as client:
            with pytest.raises(RecordingFailed):
                record_and_fail(client, link)
            link.mend()
            wait_for(lambda: not waiting(spool), "it is delivered while this process lives")
    with gapless.connect(root) as local:
        assert local.sequence_handler("failed").state == "pending"
        local.seal("failed")
    assert_counted(stored(root, "failed", "t"), 1)
    assert uplink_threads() == []


def test_the_spool_takes_over_in_the_middle_and_delivers_by_itself(
    served: Server, root: Path, spool: Path, tmp_path: Path
) -> None:
    """One recording in two places becomes one sequence: rows, drops, gaps, files, late topics."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"x" * 1_500_000)
    with Link(("127.0.0.1", served.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with gapless.connect(url, spool=spool, flush_ms=10) as client:
            with client.sequence_create("lab/cut", {"k": 1}) as seq:
                numbers = seq.topic_create("numbers", schema=NUMBERS)
                texts = seq.topic_create("texts", schema=TEXTS, on_error=TopicErrorPolicy.Ignore)
                idle = seq.topic_create("idle", schema=TEXTS)
                for n in range(20_000):
                    numbers.push_row(n, 0.0, n)
                texts.push_row(1, "first")
                texts.push_row(2, 2)
                idle.push_row(1, "before")
                numbers.gap(2, "before the cut")
                seq.add_artifact(file, "one")
                seq.flush()
                link.cut()
                for n in range(20_000, 50_000):
                    numbers.push_row(n, 0.0, n)
                texts.push_row(3, "second")
                texts.push_row(4, 4)
                numbers.gap(3, "after the cut")
                seq.add_artifact(file, "two")
                late = seq.topic_create("late", schema=TEXTS)
                late.push_row(5, "late")
                seq.event("info", "cut", "the network was cut")
                seq.flush()
                assert numbers.durable_rows == 50_000
                assert numbers.accepted_rows == 20_000
            assert waiting(spool) == 1
            link.mend()
            wait_for(lambda: waiting(spool) == 0, "the background delivered")
    assert_counted(stored(root, "lab/cut", "numbers"), 50_000)
    assert stored(root, "lab/cut", "texts")["s"].to_pylist() == ["first", "second"]
    assert stored(root, "lab/cut", "idle")["s"].to_pylist() == ["before"]
    assert stored(root, "lab/cut", "late")["s"].to_pylist() == ["late"]
    with gapless.connect(root) as local:
        handler = local.sequence_handler("lab/cut")
        assert handler.outcome == "completed"
        assert handler.topic("numbers").ledger["gapped"] == 5
        assert handler.topic("texts").ledger["dropped"] == 2
        assert set(handler.artifacts) == {"one", "two"}
        assert handler.artifact_path("two").read_bytes() == file.read_bytes()
        assert local.verify("lab/cut", deep=True) == []
    assert uplink_threads() == []


def test_a_recording_may_begin_without_its_server(root: Path, spool: Path) -> None:
    """All of it is in the spool, until a client finds the server there."""
    later = ServerProcess(root)
    record(later.url, spool, "alone")
    assert waiting(spool) == 1
    with later, gapless.connect(later.url, spool=spool):
        wait_for(lambda: waiting(spool) == 0, "the next client delivered")
    assert_counted(stored(root, "alone", "t"), 1_000)
    with gapless.connect(root) as local:
        assert local.sequence_handler("alone").outcome == "completed"
        assert local.sequence_handler("alone").metadata == {"k": 1}


@pytest.mark.parametrize(
    ("policy", "ending"), [(OnErrorPolicy.Report, "pending"), (OnErrorPolicy.Delete, "gone")]
)
def test_policies_are_carried_out_at_the_delivery(
    root: Path, spool: Path, policy: OnErrorPolicy, ending: str
) -> None:
    """Pending with its notification, or a tombstone."""
    later = ServerProcess(root)

    def record_and_fail() -> None:
        with (
            gapless.connect(later.url, spool=spool) as client,
            client.sequence_create("failed", on_error=policy) as seq,
        ):
            seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)
            raise ZeroDivisionError("the pump stopped")

    with pytest.warns(SpoolWarning), pytest.raises(ZeroDivisionError):
        record_and_fail()
    with later, gapless.connect(later.url, spool=spool) as client:
        wait_for(lambda: waiting(spool) == 0, "it was delivered")
        assert not client.undelivered  # type: ignore[attr-defined]
    with gapless.connect(root) as local:
        if ending == "pending":
            assert local.sequence_handler("failed").state == "pending"
            messages = [n.message for n in local.sequence_handler("failed").notifications()]
            assert messages == ["ZeroDivisionError: the pump stopped"]
        else:
            assert not local.sequence_exists("failed")
            assert local.was_discarded("failed")


def test_a_discard_is_wished_before_anybody_else_may_deliver(
    served: Server, root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program of the same spool that comes the moment it is free does not seal what was discarded."""
    release = Spool.release

    def delivered_at_once(self: Spool) -> None:
        release(self)
        assert main(["deliver", "--spool", str(spool), "--to", served.url]) == 0

    monkeypatch.setattr(Spool, "release", delivered_at_once)
    with Link(("127.0.0.1", served.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with gapless.connect(url, spool=spool, flush_ms=10) as client, client.sequence_create("wrong") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            link.cut()
            topic.push_row(1, 0.0, 1)
            seq.flush()
            seq.discard("the wrong sample")
    with gapless.connect(root) as local:
        assert not local.sequence_exists("wrong")
        assert [words["reason"] for words in local.list_discarded()] == ["the wrong sample"]


_RECORDER = """
import os, signal, sys, pyarrow as pa, gapless
client = gapless.connect(sys.argv[1], spool=sys.argv[2], flush_ms=10)
seq = client.sequence_create("killed").__enter__()
topic = seq.topic_create("t", schema=pa.schema([pa.field("x", pa.float64()), pa.field("n", pa.int64())]))
for n in range(5000):
    topic.push_row(n, 0.0, n)
seq.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_recorder_killed_while_it_spools_is_delivered_as_interrupted(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command line, which says first what it would do."""
    died = subprocess.run(
        [sys.executable, "-c", _RECORDER, AWAY, str(spool)], check=False, env=dict(os.environ)
    )
    assert died.returncode == -signal.SIGKILL
    with server(root) as running:
        assert main(["deliver", "--spool", str(spool), "--to", running.url, "--dry-run"]) == 0
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    said = capsys.readouterr().out
    assert "would deliver killed" in said
    assert "killed: interrupted, 5,000 rows" in said
    assert waiting(spool) == 0
    assert_counted(stored(root, "killed", "t"), 5_000)
    with gapless.connect(root) as local:
        assert local.sequence_handler("killed").outcome == "interrupted"


_TWO_PLACES = """
import os, signal, sys, pyarrow as pa, gapless
client = gapless.connect(sys.argv[1], spool=sys.argv[2], flush_ms=10)
seq = client.sequence_create("both").__enter__()
schema = pa.schema([pa.field("x", pa.float64()), pa.field("n", pa.int64())])
topic = seq.topic_create("t", schema=schema)
there = seq.topic_create("there", schema=schema)
for n in range(3000):
    topic.push_row(n, 0.0, n)
there.push_row(0, 0.0, 0)
topic.gap(1, "there")
seq.flush()
print("flushed", flush=True)
sys.stdin.readline()
for n in range(3000, 5000):
    topic.push_row(n, 0.0, n)
topic.gap(1, "here")
seq.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_recorder_killed_after_the_spool_took_over_is_one_sequence_again(
    served: Server, root: Path, spool: Path
) -> None:
    """The rows that the server had and those of the spool, each once, sealed as interrupted."""
    with Link(("127.0.0.1", served.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        words = [sys.executable, "-c", _TWO_PLACES, url, str(spool)]
        child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "flushed\n"
        link.cut()
        child.communicate("go on\n", timeout=PATIENCE_S)
        assert child.returncode == -signal.SIGKILL
        link.mend()
        with gapless.connect(url, spool=spool):
            wait_for(lambda: waiting(spool) == 0, "it was delivered")
    assert_counted(stored(root, "both", "t"), 5_000)
    assert_counted(stored(root, "both", "there"), 1)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("both")
        assert handler.outcome == "interrupted"
        assert handler.topic("t").ledger == {"produced": 5_002, "written": 5_000, "dropped": 0, "gapped": 2}


def test_an_end_that_the_server_could_not_hear_is_spooled_alone(root: Path, spool: Path) -> None:
    """The server has every row; what it is told later is how the sequence ended."""
    with ServerProcess(root) as child, gapless.connect(child.url, spool=spool, flush_ms=10) as client:
        with client.sequence_create("ended") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            for n in range(100):
                topic.push_row(n, 0.0, n)
            seq.flush()
            child.kill()
        assert waiting(spool) == 1
        child.start()
        wait_for(lambda: waiting(spool) == 0, "it was delivered")
    assert_counted(stored(root, "ended", "t"), 100)
    with gapless.connect(root) as local:
        assert local.sequence_handler("ended").outcome == "completed"


def test_a_delivery_cut_in_the_middle_goes_on_later(root: Path, spool: Path) -> None:
    """From the first row that the server does not have."""
    with ServerProcess(root) as child, Link(("127.0.0.1", child.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        link.cut()
        record(url, spool, "long", rows=200_000)
        link.mend()
        link.bytes_per_s = 500_000
        with spooling(url, spool, match="1 sequence .long.") as client:
            wait_for(lambda: link.passed_bytes > 400_000, "a part was delivered")
            child.kill()
            assert isinstance(client, RemoteClient)
            wait_for(lambda: "long" in client.undelivered, "the delivery met the cut")
        assert waiting(spool) == 1
        child.start()
        link.bytes_per_s = None
        with gapless.connect(url, spool=spool):
            wait_for(lambda: waiting(spool) == 0, "it was delivered")
    assert_counted(stored(root, "long", "t"), 200_000)


def test_a_name_taken_meanwhile_keeps_the_spool(root: Path, spool: Path) -> None:
    """And does not hinder what else is in it."""
    running = ServerProcess(root)
    record(running.url, spool, "twice")
    record(running.url, spool, "other")
    with running:
        with gapless.connect(running.url) as client, client.sequence_create("twice") as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)
        with spooling(running.url, spool, match="--rename twice=NEW") as client:
            assert isinstance(client, RemoteClient)
            wait_for(lambda: waiting(spool) == 1 and client.undelivered, "the other one was delivered")
            assert isinstance(client.undelivered["twice"], NameTaken)
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == NameTaken.exit_code
    assert waiting(spool) == 1
    assert_counted(stored(root, "twice", "t"), 1)
    assert_counted(stored(root, "other", "t"), 1_000)


def test_a_night_without_a_server_ends_in_one_sequence(root: Path, spool: Path) -> None:
    """Neither the server's retention nor a recorder beside it seals what a spool elsewhere goes on with, for days."""
    with server(root) as first:
        link = Link(("127.0.0.1", first.port))
        with (
            spooling(f"grpc://127.0.0.1:{link.port}", spool, flush_ms=10) as recorder,
            recorder.sequence_create("night") as seq,
        ):
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            link.cut()
            topic.push_row(1, 0.0, 1)
            seq.flush()
        link.close()
    for path in (root / "sequences" / "night" / "journal").glob("*.seg"):
        os.utime(path, ns=(0, time.time_ns() - 3 * 24 * 3600 * 10**9))
    with gapless.connect(root) as beside, beside.sequence_create("other"):
        pass
    with server(root) as again:
        Retention(again.served).round()
        assert main(["deliver", "--spool", str(spool), "--to", again.url]) == 0
    assert_counted(stored(root, "night", "t"), 2)


def test_what_was_meant_for_another_server_waits_for_a_word(root: Path, spool: Path) -> None:
    """A client that shares the spool does not bring it to its own server; `gapless deliver` does."""
    record(AWAY, spool, "elsewhere")
    with server(root) as running:
        with gapless.connect(running.url, spool=spool) as client:
            assert isinstance(client, RemoteClient)
            wait_for(lambda: client.undelivered, "it was looked at")
            assert isinstance(client.undelivered["elsewhere"], DeliveryFailed)
        assert waiting(spool) == 1
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert_counted(stored(root, "elsewhere", "t"), 1_000)


def test_what_died_before_it_began_goes_with_a_later_delivery(root: Path, spool: Path) -> None:
    """A folder without a journal has nothing to deliver; one of this moment may be a recorder's that begins."""
    record(AWAY, spool, "whole")
    for name in ("old", "young"):
        (spool / "spool" / name / MAKING).mkdir(parents=True)
    os.utime(spool / "spool" / "old", ns=(0, time.time_ns() - 2 * 3600 * 10**9))
    with server(root) as running:
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert [path.name for path in (spool / "spool").iterdir()] == ["young"]
    assert_counted(stored(root, "whole", "t"), 1_000)


def test_a_spool_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the folder would be: a typed error, and no thread stays."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    with gapless.connect(AWAY, spool=file / "spool") as client, pytest.raises(StorageFailed):
        client.sequence_create("nowhere").__enter__()
    assert uplink_threads() == []
