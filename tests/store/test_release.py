"""Ownership that is given up after a failure: nothing of the process touches the journal any more."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.store.adopting import SMALL, streams

from gapless.store import journal
from gapless.store.durability import Durability
from gapless.store.layout import Bundle
from gapless.store.platform import Platform
from gapless.store.writer import BundleWriter

DEADLINE_S = 30


class HeldWriter(Platform):
    """A disk that finishes no sync of the writer thread until it goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def data_sync(self, fd: int) -> None:
        """Sync, for the writer thread once the disk goes on."""
        if threading.current_thread().name.startswith("gapless-writer"):
            self.asked.set()
            assert self.goes_on.wait(DEADLINE_S)
        super().data_sync(fd)


@pytest.mark.parametrize(
    "patience_s", [0.2, DEADLINE_S], ids=["disk-comes-back-after", "disk-comes-back-during"]
)
def test_a_segment_closed_behind_a_failure_is_left_to_the_next_owner(
    tmp_path: Path, patience_s: float
) -> None:
    """A hung disk holds the writer thread between two segments while the recording fails and is let go of."""
    disk, bundle = HeldWriter(), Bundle(tmp_path / "run")
    bundle.path.mkdir()
    writer = BundleWriter(
        bundle,
        journal.make_header("run", platform=disk),
        durability=Durability(flush_ms=10_000, deadline_s=patience_s),
        platform=disk,
        segment_bytes=3000,
        cuts=SMALL,
    )
    stream = streams()[0]
    lane = writer.lane(writer.declare(stream.declaration))
    lane.push_batch(stream.batch(0, 200))  # more than a segment
    lane.push_batch(stream.batch(200, 400))
    assert disk.asked.wait(DEADLINE_S)
    writer._sealer_failed(OSError("the background sealer met a bad sector"))
    releasing = threading.Thread(target=writer.release)
    releasing.start()
    if patience_s < DEADLINE_S:
        releasing.join(DEADLINE_S)
        assert disk.is_locked(bundle.lock), "the thread in the disk may still write"
    disk.goes_on.set()
    releasing.join(DEADLINE_S)
    writer._thread.join(DEADLINE_S)

    assert not disk.is_locked(bundle.lock)
    assert len(list(bundle.journal.glob("*.seg"))) > 1
    assert [thread.name for thread in threading.enumerate() if thread.name == "gapless-sealer-run"] == []
