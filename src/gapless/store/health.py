"""The writer's own figures as rows of ``_health``: queues, syncs, and the two clocks side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import Kind
from gapless.store.reserved import HEALTH

if TYPE_CHECKING:
    from gapless.store.writer import BundleWriter

HEALTH_INDEX = 2


class HealthLog:
    """Samples the writer at its start, every ``period_s`` and at its end; belongs to the writer thread."""

    def __init__(self, writer: BundleWriter, period_s: float) -> None:
        self.writer = writer
        self.period_ns = int(period_s * 1e9)
        self.lag_max_ns = 0
        self._next_ns = 0
        self._syncs = 0
        self._sync_max_ns = 0
        self._lag_max_ns = 0
        self.describe_hops: Callable[[], str | None] = lambda: None
        self._state = writer.declare(TopicDeclaration(HEALTH_INDEX, "_health", HEALTH, {}))

    def synced(self, took_ns: int, lag_ns: int) -> None:
        """Note one sync: how long it took and how old the oldest row in it had become."""
        self._syncs += 1
        self._sync_max_ns = max(self._sync_max_ns, took_ns)
        self._lag_max_ns = max(self._lag_max_ns, lag_ns)
        self.lag_max_ns = max(self.lag_max_ns, lag_ns)

    def sample(self, *, force: bool) -> None:
        """Write one row when it is time."""
        if not force and time.monotonic_ns() < self._next_ns:
            return
        self._next_ns = time.monotonic_ns() + self.period_ns
        writer, state = self.writer, self._state
        sealer = writer.sealer
        row = {
            "timestamp_ns": writer.now_ns(),
            "wall_ns": writer.platform.wall_ns(),
            "boot_ns": writer.platform.boot_ns(),
            "unsynced_bytes": writer.hand_over.unsynced_bytes,
            "queued_blocks": writer.hand_over.queue.qsize(),
            "blocked_ns": writer.hand_over.blocked_ns,
            "sync_count": self._syncs,
            "sync_max_ns": self._sync_max_ns,
            "lag_max_ns": self._lag_max_ns,
            "backlog_bytes": sealer.backlog_bytes if sealer is not None else 0,
            "hops": self.describe_hops(),
        }
        batch = pa.RecordBatch.from_pylist([row], schema=HEALTH)
        writer.segments.append(
            Kind.ARROW, HEALTH_INDEX, state.next_seq, 1, memoryview(batch.serialize()), 8 * len(HEALTH)
        )
        state.next_seq += 1
        state.internal_rows += 1
        self._sync_max_ns = self._lag_max_ns = 0
