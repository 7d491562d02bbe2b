"""A disk that is full, broken or hanging: the recording fails loudly, and what was durable stays."""

# ruff: noqa: PT012, SIM117 - the block of a recording is what raises here
from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.errors import DeadlinePassed, RecordingFailed, StorageFailed
from gapless.model.outcome import OnErrorPolicy
from gapless.store.layout import Bundle
from gapless.testing.faults import Fault, FaultyPlatform
from gapless.testing.sample import COUNTS, MOTION, SampleTopic

REPORT = OnErrorPolicy.Report


def push(topic: gapless.TopicWriter, sample: SampleTopic, start: int, stop: int) -> None:
    """Push rows of a sample topic one by one."""
    for k in range(start, stop):
        topic.push_row(*sample.row(k))


def rows_of(store: Path, name: str, sample: SampleTopic = MOTION) -> pa.Table:
    """Return the rows of a sequence's topic."""
    with gapless.connect(store) as client:
        return client.sequence_handler(name).topic(sample.name).to_arrow()


@pytest.mark.parametrize(
    ("operation", "code"), [("write", errno.EIO), ("write", errno.ENOSPC), ("data_sync", errno.EIO)]
)
def test_a_refused_write_or_sync_fails_the_recording_and_keeps_what_was_durable(
    tmp_path: Path, operation: str, code: int
) -> None:
    """The next flush raises StorageFailed, later pushes too; durable rows come back; the outcome is failed."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk, deadline_s=10) as client:
        with pytest.raises(StorageFailed), client.sequence_create("s", on_error=REPORT) as seq:
            topic = seq.topic_create(MOTION.name, schema=MOTION.schema)
            push(topic, MOTION, 0, 500)
            seq.flush()
            disk.plan(Fault(operation, code=code))
            push(topic, MOTION, 500, 900)
            with pytest.raises(StorageFailed):
                seq.flush()
            assert topic.durable_rows == 500
            with pytest.raises(StorageFailed):
                push(topic, MOTION, 900, 20_000)
            disk.heal()
            seq.flush()
        handler = client.sequence_handler("s")
        assert handler.state == "pending"
        client.seal("s")
    with gapless.connect(tmp_path) as client:
        handler = client.sequence_handler("s")
        assert (handler.state, handler.outcome) == ("sealed", "failed")
        table = handler.topic(MOTION.name).to_arrow()
        assert 500 <= table.num_rows < 900 + 500
        assert table.equals(MOTION.table(0, table.num_rows))
        assert any("refused" in n.message for n in handler.notifications())
        assert client.verify("s", deep=True) == [] or {f.severity for f in client.verify("s")} <= {"warning"}


def test_a_file_whose_sync_failed_is_never_synced_again(tmp_path: Path) -> None:
    """A second sync would succeed without the lost pages; rows above the last good sync are not durable."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk) as client, pytest.raises(StorageFailed):
        with client.sequence_create("s", on_error=REPORT) as seq:
            topic = seq.topic_create(MOTION.name, schema=MOTION.schema)
            push(topic, MOTION, 0, 10)
            seq.flush()
            disk.plan(Fault("data_sync", once=True))
            push(topic, MOTION, 10, 20)
            with pytest.raises(StorageFailed):
                seq.flush()
            synced = disk.count("data_sync", ".seg")
            with pytest.raises(StorageFailed):
                seq.flush()
            assert topic.durable_rows == 10
            seq.flush()
    assert disk.count("data_sync", ".seg") == synced


def test_a_hanging_sync_meets_deadlines_and_wedges_nobody(tmp_path: Path) -> None:
    """Producers, flush and the end of the block raise DeadlinePassed; reading goes on; nothing durable is lost."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk, deadline_s=0.3, max_unsynced_bytes=64 << 10) as client:
        with pytest.raises(DeadlinePassed), client.sequence_create("s", on_error=REPORT) as seq:
            topic = seq.topic_create(MOTION.name, schema=MOTION.schema)
            push(topic, MOTION, 0, 100)
            seq.flush()
            disk.hang_syncs()
            push(topic, MOTION, 100, 101)
            with pytest.raises(DeadlinePassed):
                seq.flush()
            with pytest.raises(DeadlinePassed):
                push(topic, MOTION, 101, 50_000)
            assert topic.durable_rows == 100
            assert client.sequence_handler("s").topic(MOTION.name).rows == 100
        disk.release()
    table = sealed_rows(tmp_path)
    assert table.num_rows >= 100
    assert table.equals(MOTION.table(0, table.num_rows))


def sealed_rows(store: Path) -> pa.Table:
    """Seal what was left of sequence ``s`` and return its motion rows."""
    for thread in threading.enumerate():
        if thread.name.startswith("gapless-writer"):
            thread.join(10)
    with gapless.connect(store) as client:
        client.seal("s")
        assert client.sequence_handler("s").outcome in ("failed", "interrupted", "completed")
    return rows_of(store, "s")


def test_policy_fail_refuses_the_row_that_does_not_fit_and_takes_it_again_later(tmp_path: Path) -> None:
    """With on_full='fail' a full hand-over raises at once; what was accepted is recorded, in order."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk, max_unsynced_bytes=32 << 10, deadline_s=10) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create(MOTION.name, schema=MOTION.schema, on_full="fail")
            push(topic, MOTION, 0, 1)
            seq.flush()
            disk.hang_syncs()
            accepted = 1
            with pytest.raises(RecordingFailed, match="does not keep up"):
                for accepted in range(1, 100_000):
                    topic.push_row(*MOTION.row(accepted))
            disk.release()
            seq.flush()
            push(topic, MOTION, accepted, accepted + 100)
    assert rows_of(tmp_path, "s").equals(MOTION.table(0, accepted + 100))


def test_policy_drop_oldest_never_stops_the_producer_and_counts_what_it_gave_up(tmp_path: Path) -> None:
    """While syncs hang old blocks go; each is a gap row, the ledger balances, and the rest is in order."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk, max_unsynced_bytes=32 << 10, deadline_s=10) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create(MOTION.name, schema=MOTION.schema, on_full="drop_oldest")
            push(topic, MOTION, 0, 1)
            seq.flush()
            disk.hang_syncs()
            push(topic, MOTION, 1, 20_000)
            disk.release()
            push(topic, MOTION, 20_000, 21_000)
        handler = client.sequence_handler("s")
        ledger = handler.ledger
        assert ledger["produced"] == 21_000
        assert ledger["dropped"] > 0
        assert ledger["produced"] == ledger["written"] + ledger["dropped"]
        gaps = [g for g in handler.topic("_gaps").to_arrow().to_pylist() if g["cause"] == "drop_oldest"]
        missing = {k for g in gaps for k in range(g["first_seq"], g["first_seq"] + g["count"])}
        assert len(missing) == ledger["dropped"]
        kept = [k for k in range(21_000) if k not in missing]
        assert handler.topic(MOTION.name).to_arrow()["n"].to_pylist() == kept
        assert client.verify("s", deep=True) == []


def test_a_disk_that_refuses_the_seal_loses_nothing(tmp_path: Path) -> None:
    """The rows are durable in the journal, so the policy Delete does not apply: seal again, and it is complete."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk) as client:
        with pytest.raises(StorageFailed, match="everything recorded is in the journal"):
            with client.sequence_create("s") as seq:
                push(seq.topic_create(MOTION.name, schema=MOTION.schema), MOTION, 0, 300)
                disk.plan(Fault("sync_file", code=errno.ENOSPC))
        disk.heal()
        client.recover("s")
        handler = client.sequence_handler("s")
        assert (handler.outcome, handler.topic(MOTION.name).rows) == ("completed", 300)
    assert rows_of(tmp_path, "s").equals(MOTION.table(0, 300))


def test_a_disk_that_refuses_a_new_journal_leaves_the_name_free(tmp_path: Path) -> None:
    """Nothing was recorded, so the name can be used when there is room."""
    disk = FaultyPlatform()
    with gapless.connect(tmp_path, platform=disk) as client:
        disk.plan(Fault("reserve", code=errno.ENOSPC))
        with pytest.raises(StorageFailed), client.sequence_create("s"):
            pass
        disk.heal()
        with client.sequence_create("s") as seq:
            seq.log("t", 1.0)
        assert client.list_sequences() == ["s"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 6 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.mark.parametrize("on_error", list(OnErrorPolicy))
def test_a_really_full_disk_fails_loudly_and_every_durable_row_is_back(
    small_disk: Path, on_error: OnErrorPolicy
) -> None:
    """On a full tmpfs: StorageFailed reaches the caller, and after making room the durable rows are there, in order."""
    (small_disk / "filler").write_bytes(bytes(4 << 20))
    durable = (0, 0)
    with gapless.connect(small_disk / "store", flush_ms=20) as client:
        with pytest.raises(StorageFailed), client.sequence_create("s", on_error=on_error) as seq:
            motion = seq.topic_create(MOTION.name, schema=MOTION.schema)
            counts = seq.topic_create(COUNTS.name, schema=COUNTS.schema)
            for k in range(10**6):
                motion.push_row(*MOTION.row(k))
                counts.push_row(*COUNTS.row(k))
                if k == 2000:
                    seq.flush()
                durable = (motion.durable_rows, counts.durable_rows)
        (small_disk / "filler").unlink()
        if (
            on_error is OnErrorPolicy.Delete
        ):  # a full disk takes no tombstone, so the sequence stays until it can
            client.discard("s")
            assert [t["name"] for t in client._store.tombstones()] == ["s"]
            assert client.list_sequences() == []
            return
        (small_disk / "store" / "catalog.db").unlink(missing_ok=True)
    with gapless.connect(small_disk / "store") as client:
        client.seal("s")
        handler = client.sequence_handler("s")
        assert handler.outcome == "failed"
        assert min(durable) > 1000
        for sample, acknowledged in zip((MOTION, COUNTS), durable, strict=True):
            table = handler.topic(sample.name).to_arrow()
            assert table.num_rows >= acknowledged
            assert table.equals(sample.table(0, table.num_rows))
        assert not [f for f in client.verify("s", deep=True) if f.severity == "error"]
    assert Bundle(small_disk / "store" / "sequences" / "s").manifest.exists()
