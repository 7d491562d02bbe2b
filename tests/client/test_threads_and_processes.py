"""Two threads, a forked child, two processes on one store, a lock whose owner died."""

# ruff: noqa: PT012, SIM117 - the block of a recording is what raises here
from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.errors import NameTaken, SequenceOwned, WriterClosed, WriterDied, WrongProcess, WrongThread
from gapless.model.outcome import OnErrorPolicy
from gapless.store.writer import BundleWriter
from gapless.testing.sample import MOTION

SCHEMA = pa.schema([("thread", pa.int64()), ("n", pa.int64())])


def in_thread(call: object) -> BaseException | None:
    """Run a call in a thread of its own and return what it raised."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            call()  # type: ignore[operator] # a callable of the test
        except gapless.GaplessError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return caught[0] if caught else None


def test_a_second_thread_is_refused_and_gets_a_lane_of_its_own(tmp_path: Path) -> None:
    """WrongThread for the topic writer, rows through topic.lane(), flush from any thread."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA)
            topic.push_row(0, 0, 0)
            for push in (
                lambda: topic.push_row(1, 1, 1),
                lambda: topic.push_columns([1], {"thread": [1], "n": [1]}),
            ):
                assert isinstance(in_thread(push), WrongThread)
            assert in_thread(lambda: topic.lane().push_row(1, 1, 1)) is None
            assert in_thread(topic.flush) is None
            assert topic.durable_rows == 2
        assert client.sequence_handler("s").ledger["produced"] == 2


def test_lanes_of_many_threads_keep_each_threads_order(tmp_path: Path) -> None:
    """Eight threads into one topic, with flushes in between: no row lost, each thread's rows in its order."""
    with gapless.connect(tmp_path, flush_ms=1, max_unsynced_bytes=256 << 10) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA)

            def produce(number: int) -> None:
                lane = topic.lane()
                for n in range(5000):
                    lane.push_row(n, number, n)
                    if n % 1000 == 999:
                        lane.flush()
                    seq.log(f"log/{number % 2}", float(n), timestamp_ns=n)

            threads = [threading.Thread(target=produce, args=(k,)) for k in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        handler = client.sequence_handler("s")
        table = (
            handler.topic("t").to_arrow().sort_by([("thread", "ascending"), ("timestamp_ns", "ascending")])
        )
        assert table["n"].to_pylist() == list(range(5000)) * 8
        assert handler.topic("log/0").rows == handler.topic("log/1").rows == 20_000
        assert client.verify("s", deep=True) == []


def test_a_thread_that_pushes_while_the_block_ends_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    """Its push raises WriterClosed; every row accepted before that is recorded."""
    with gapless.connect(tmp_path, flush_ms=1) as client:
        for number in range(60):
            accepted = [0]
            began = threading.Event()
            with client.sequence_create(f"s{number}") as seq:
                topic = seq.topic_create("t", schema=SCHEMA)

                def produce(
                    topic: gapless.TopicWriter = topic,
                    accepted: list[int] = accepted,
                    began: threading.Event = began,
                ) -> None:
                    try:
                        while True:
                            topic.push_row(accepted[0], 0, accepted[0])
                            accepted[0] += 1
                            began.set()
                    except WriterClosed:
                        return

                thread = threading.Thread(target=produce)
                thread.start()
                began.wait()
            thread.join()
            assert client.sequence_handler(f"s{number}").topic("t").rows == accepted[0]


def test_a_dead_writer_thread_raises_at_the_next_call_and_at_the_end(tmp_path: Path) -> None:
    """Its error reaches the producer, and nothing waits for a thread that is gone."""
    with gapless.connect(tmp_path) as client:
        with pytest.raises(WriterDied, match="boom"):
            with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
                topic = seq.topic_create("t", schema=SCHEMA)
                topic.push_row(0, 0, 0)
                seq.flush()

                def boom() -> bool:
                    raise RuntimeError("boom")

                writer = seq._writer
                assert isinstance(writer, BundleWriter)
                writer._sync_wanted = boom  # type: ignore[method-assign] # an error that nobody foresees
                writer._publish = boom  # type: ignore[method-assign,assignment] # whatever it does next
                topic.push_row(1, 0, 1)
                with pytest.raises(WriterDied, match="boom"):
                    seq.flush()
                with pytest.raises(WriterDied, match="boom"):
                    topic.push_row(2, 0, 2)
                seq.log("x", 1.0)
        client.seal("s")
        assert client.sequence_handler("s").topic("t").to_arrow()["n"].to_pylist()[:1] == [0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_may_not_push_and_the_parent_keeps_its_lock(tmp_path: Path) -> None:
    """Child: WrongProcess, nothing sealed when its block ends. Parent: goes on, still the owner, all rows recorded."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=MOTION.schema)
            for k in range(10):
                topic.push_row(*MOTION.row(k))
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    topic.push_row(*MOTION.row(99))
                except WrongProcess:
                    seq.__exit__(None, None, None)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            with gapless.connect(tmp_path) as other, pytest.raises(SequenceOwned):
                other.recover("s")
            for k in range(10, 20):
                topic.push_row(*MOTION.row(k))
        assert client.sequence_handler("s").topic("t").to_arrow().equals(MOTION.table(0, 20))


RECORD = """
import sys, os, gapless
client = gapless.connect(sys.argv[1])
with client.sequence_create(sys.argv[2]) as seq:
    seq.log("t", 1.0, timestamp_ns=1)
    seq.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    seq.log("t", 2.0, timestamp_ns=2)
"""


def child(store: Path, name: str) -> subprocess.Popen[str]:
    """Start a process that records into the store and waits."""
    environment = os.environ | {"PYTHONPATH": str(Path(gapless.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD, str(store), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Close the pipes of a process that has ended."""
    process.communicate()


def test_two_processes_write_into_one_store(tmp_path: Path) -> None:
    """A name belongs to who made it first; the other's sequence can be read, not recovered, sealed or discarded."""
    process = child(tmp_path, "theirs")
    with gapless.connect(tmp_path) as client:
        with pytest.raises(NameTaken):
            client.sequence_create("theirs")
        with client.sequence_create("ours") as seq:
            seq.log("t", 1.0)
        assert client.sequence_handler("theirs").topic("t").to_arrow()["value"].to_pylist() == [1.0]
        assert client.sequence_handler("theirs").state == "open"
        for call in (client.recover, client.seal, client.discard):
            with pytest.raises(SequenceOwned):
                call("theirs")
        process.communicate("go\n")
        assert process.returncode == 0
        assert client.sequence_handler("theirs").topic("t").rows == 2
        assert sorted(client.list_sequences()) == ["ours", "theirs"]


def test_a_lock_whose_owner_was_killed_is_free(tmp_path: Path) -> None:
    """Reading only reports it; the next writer on the store recovers it as interrupted."""
    process = child(tmp_path, "theirs")
    process.kill()
    end(process)
    with gapless.connect(tmp_path) as client:
        assert client.sequence_handler("theirs").state == "open"
        assert (tmp_path / "sequences" / "theirs" / "journal").exists()
        with client.sequence_create("ours") as seq:
            seq.log("t", 1.0)
        handler = client.sequence_handler("theirs")
        assert (handler.state, handler.outcome) == ("sealed", "interrupted")
        assert handler.topic("t").to_arrow()["value"].to_pylist() == [1.0]


def test_one_damaged_journal_does_not_forbid_new_recordings(tmp_path: Path) -> None:
    """What cannot be recovered is named by client.unrecovered and left as it is."""
    process = child(tmp_path, "theirs")
    process.kill()
    end(process)
    journal = tmp_path / "sequences" / "theirs" / "journal"
    for file in (journal / "open.json", *journal.glob("*.seg")):
        file.write_bytes(b"?" * 100)
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("ours") as seq:
            seq.log("t", 1.0)
        assert list(client.unrecovered) == ["theirs"]
        assert journal.exists()
    assert multiprocessing.active_children() == []
