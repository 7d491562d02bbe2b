"""The writer's own figures are rows beside the data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

import gapless
from gapless.store.health import HealthLog
from gapless.testing.faults import FaultyPlatform


def test_health_tells_queues_syncs_and_both_clocks(tmp_path: Path) -> None:
    """A recording has a row at its start and its end; syncs are counted and both clocks move together."""
    client = gapless.connect(tmp_path)
    with client.sequence_create("s") as seq:
        for value in range(3):
            seq.log("a", value)
            seq.flush()
    health = client.sequence_handler("s").reader.topic("_health").to_arrow()
    assert health.num_rows >= 2
    rows = health.to_pylist()
    assert sum(row["sync_count"] > 0 for row in rows) >= 1
    assert rows[-1]["sync_count"] >= 3
    wall = rows[-1]["wall_ns"] - rows[0]["wall_ns"]
    boot = rows[-1]["boot_ns"] - rows[0]["boot_ns"]
    assert abs(wall - boot) < 1_000_000_000
    assert HealthLog.__doc__


def test_waiting_for_the_disk_is_counted(tmp_path: Path) -> None:
    """When a slow disk holds a producer up, the time is in the last health row and in the report."""
    disk = FaultyPlatform(slow_sync_s=0.05)
    client = gapless.connect(tmp_path, max_unsynced_bytes=300_000, platform=disk)
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=pa.schema([("x", pa.binary())]))
        for k in range(20):
            topic.push_row(k, bytes(100_000))
    last = client.sequence_handler("s").reader.topic("_health").to_arrow().to_pylist()[-1]
    assert last["blocked_ns"] > 0
    assert "C012" in [finding.code for finding in client.check("s").findings]
