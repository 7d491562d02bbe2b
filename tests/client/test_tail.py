"""Following an open sequence: every durable row once, whatever moves underneath, and an end that comes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from tests.store.bundle_files import XS, write_bundle, xs
from tests.store.live_recording import SMALL_PARTS, Recording

import gapless
from gapless.client.tail import tail
from gapless.errors import NotFound


def _xs(batches: Iterator[pa.RecordBatch]) -> list[float]:
    return [x for batch in batches for x in batch["x"].to_pylist()]


def test_a_tail_gives_every_row_once_until_the_seal(tmp_path: Path) -> None:
    """From the start, through background sealing, to the end of the sequence: no row twice, none missing."""

    def produce() -> None:
        recording.push_many(150)
        recording.seal()

    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.writer.flush()
        follower = tail(tmp_path / "live", "t", poll_s=0.001, from_start=True)
        producer = threading.Thread(target=produce)
        producer.start()
        found = _xs(follower)
        producer.join()
    assert sorted(found) == [float(n) for n in range(7500)]


def test_a_slow_tail_reads_from_parts_what_left_the_journal(tmp_path: Path) -> None:
    """A consumer that stops in the middle gets the rest from the parts, duplicates of the producer kept."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS, producer_seq=True) as recording:
        recording.push([5] * 100, [7] * 100)
        recording.writer.flush()
        follower = tail(tmp_path / "live", "t", poll_s=0.001, from_start=True)
        found = next(follower)["x"].to_pylist()
        for block in range(30):
            recording.push([block] * 50, range(block * 50, block * 50 + 50))
            recording.writer.flush()
        recording.seal()
        found += _xs(follower)
    assert len(found) == 1600
    # Rows of one time and number cannot be told apart, so only their count is certain.
    assert sorted(x for x in found if x >= 100) == [float(n) for n in range(100, 1600)]


def test_a_tail_begins_with_the_rows_after_the_call(tmp_path: Path) -> None:
    """Without from_start what was durable at the call is left out, in parts as in the journal."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.push_many(10)
        follower = tail(tmp_path / "live", "t", poll_s=0.001)
        recording.push_many(4)
        recording.seal()
        assert sorted(_xs(follower)) == [float(n) for n in range(500, 700)]


def test_a_tail_ends_with_its_owner(tmp_path: Path) -> None:
    """When nobody writes any more, the last durable rows come and the tail ends."""
    recording = Recording(tmp_path / "live")
    recording.push_many(2)
    follower = tail(tmp_path / "live", "t", from_start=True)
    recording.die()
    assert _xs(follower) == [float(n) for n in range(100)]


def test_a_tail_ends_when_the_sequence_is_discarded(tmp_path: Path) -> None:
    """A folder that goes to the trash ends the tail."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(1)
        follower = tail(tmp_path / "live", "t", from_start=True)
        assert next(follower).num_rows == 50
        shutil.move(tmp_path / "live", tmp_path / "trash")
        assert list(follower) == []


def test_a_tail_without_new_rows_ends_after_its_timeout(tmp_path: Path) -> None:
    """timeout_s bounds the wait for the next row."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(1)
        assert _xs(tail(tmp_path / "live", "t", timeout_s=0.0, from_start=True)) == [
            float(n) for n in range(50)
        ]


def test_the_tail_of_a_sealed_sequence_ends_at_once(tmp_path: Path) -> None:
    """From the start it is the whole topic, else nothing; the schema is the topic's."""
    write_bundle(tmp_path, {"t": (XS, [xs([1, 2])])})
    (batch,) = tail(tmp_path, "t", from_start=True)
    assert batch.schema.equals(XS)
    assert list(tail(tmp_path, "t")) == []
    with pytest.raises(NotFound):
        tail(tmp_path, "u")


def test_another_process_follows(tmp_path: Path) -> None:
    """A tail in a process of its own sees the rows of this one and ends with the seal."""
    program = (
        "import sys; from pathlib import Path; from gapless.client.tail import tail\n"
        "print('ready', flush=True)\n"
        "print(sum(b.num_rows for b in tail(Path(sys.argv[1]), 't', from_start=True)))"
    )
    with Recording(tmp_path / "live") as recording:
        recording.push_many(2)
        command = [sys.executable, "-c", program, str(tmp_path / "live")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            recording.push_many(3)
            recording.seal()
            assert child.stdout.read() == "250\n"


def test_the_health_of_a_sealed_sequence_is_read_too(tmp_path: Path) -> None:
    """The one topic that is no part of the content is followed as any other."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("run") as seq:
            seq.log("x", 1.0)
        health = client.sequence_handler("run").topic("_health")
        assert sum(batch.num_rows for batch in health.tail(from_start=True)) == health.rows > 0
