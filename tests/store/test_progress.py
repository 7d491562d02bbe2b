"""What a writer says of how far its disk is behind."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

import gapless
from gapless.testing.faults import FaultyPlatform

ROW = pa.schema([pa.field("x", pa.float64(), nullable=False)])


def test_rows_of_a_topic_that_the_disk_has_not_met_are_waited_for(tmp_path: Path) -> None:
    """While a sync hangs, a topic may be made and filled: nothing of it is durable, and that is told."""
    disk = FaultyPlatform()
    with (
        gapless.connect(tmp_path / "store", platform=disk) as client,
        client.sequence_create("s") as sequence,
    ):
        first = sequence.topic_create("first", schema=ROW)
        first.push_row(1, 1.0)
        sequence.flush()
        assert sequence.progress.idle
        disk.hang_syncs()
        first.push_row(2, 2.0)
        assert disk.hanging.wait(30)
        second = sequence.topic_create("second", schema=ROW)
        second.push_row(1, 1.0)
        progress = sequence.progress
        disk.release()
        assert (progress.idle, progress.waiting_rows) == (False, 2)
        sequence.flush()
        assert sequence.progress.idle
