"""Reading a sequence while it is recorded, kept as pending, sealed or left by its owner."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from tests.store.live_recording import SMALL_PARTS, Recording

from gapless.errors import NotFound
from gapless.store import journal
from gapless.store.platform import PLATFORM
from gapless.store.pyramid_read import downsample
from gapless.store.reader import BundleReader, open_bundle


def _values(bundle: BundleReader) -> list[float]:
    table = bundle.topic("t").to_arrow()
    times = table["timestamp_ns"].to_pylist()
    assert times == sorted(times)
    values: list[float] = table["x"].to_pylist()
    return values


def test_an_open_sequence_reads_as_sorted_parts_and_journal(tmp_path: Path) -> None:
    """All durable rows come once and in time order, whether they are in parts or in the journal."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.push_many(20)
        bundle = open_bundle(tmp_path / "live")
        assert (bundle.name, bundle.state, bundle.owner_alive) == ("live", "open", True)
        assert (bundle.outcome, bundle.metadata) == (None, {"m": 1})
        assert sorted(_values(bundle)) == [float(n) for n in range(1000)]
        assert (bundle.topic("t").rows, bundle.ledger["written"]) == (1000, 1000)
        part_rows = sum(part.rows for part in bundle.topic("t").parts())
        assert part_rows < 1000


def test_a_reader_follows_the_recording_through_the_seal(tmp_path: Path) -> None:
    """One reader sees the rows of the moment of each scan, before and after the seal."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.push_many(2)
        bundle = open_bundle(tmp_path / "live")
        topic = bundle.topic("t")
        assert topic.rows == 100
        recording.push_many(4)
        assert topic.rows == 300
        assert topic.to_arrow(["x"], 1000, 2000).num_rows == pytest.approx(100, abs=10)
        recording.seal()
    assert sorted(topic.to_arrow()["x"].to_pylist()) == [float(n) for n in range(300)]
    assert bundle.state == "sealed"
    assert len(downsample(topic, "x", 20)) == 10


def test_every_scan_of_a_busy_sequence_is_a_prefix_of_what_arrives(tmp_path: Path) -> None:
    """While segments become parts under it, no scan misses a row or has one twice."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.writer.flush()  # the topic is declared; its lane belongs to the thread that pushes first
        bundle = open_bundle(tmp_path / "live")
        producer = threading.Thread(target=recording.push_many, args=(150,))
        producer.start()
        seen = 0
        while producer.is_alive():
            values = sorted(_values(bundle))
            assert values == [float(n) for n in range(len(values))]
            assert len(values) >= seen
            seen = len(values)
        producer.join()
        assert len(_values(bundle)) == recording.pushed


def test_an_owner_that_is_gone_leaves_what_was_durable(tmp_path: Path) -> None:
    """The state stays open, the owner is not alive, and the rows are read all the same."""
    recording = Recording(tmp_path / "live")
    recording.push_many(3)
    recording.die()
    bundle = open_bundle(tmp_path / "live")
    assert (bundle.state, bundle.owner_alive) == ("open", False)
    assert sorted(_values(bundle)) == [float(n) for n in range(150)]


def test_a_pending_sequence_tells_its_state_and_reads(tmp_path: Path) -> None:
    """pending.json makes an unlocked journal pending."""
    recording = Recording(tmp_path / "live")
    recording.push_many(1)
    journal.write_checked(recording.bundle.pending, {"notifications": []}, PLATFORM)
    recording.die()
    bundle = open_bundle(tmp_path / "live")
    assert bundle.state == "pending"
    assert bundle.topic("t").rows == 50


def test_a_discarded_sequence_is_not_found(tmp_path: Path) -> None:
    """A reader of a sequence that goes to the trash raises NotFound at the next scan."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(1)
        topic = open_bundle(tmp_path / "live").topic("t")
    shutil.move(tmp_path / "live", tmp_path / "trash")
    with pytest.raises(NotFound, match="no sequence"):
        topic.to_arrow()
