"""Schemas of the reserved topics that record what a plain topic cannot say."""

from __future__ import annotations

import pyarrow as pa

_TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)

EVENTS = pa.schema(
    [
        _TIME,
        pa.field("severity", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("data", pa.string()),
    ]
)
GAPS = pa.schema(
    [
        _TIME,
        pa.field("topic", pa.string(), nullable=False),
        pa.field("first_seq", pa.int64()),
        pa.field("count", pa.int64()),
        pa.field("end_ns", pa.int64()),
        pa.field("cause", pa.string(), nullable=False),
    ]
)
HEALTH = pa.schema(
    [
        _TIME,
        pa.field("wall_ns", pa.int64(), nullable=False),
        pa.field("boot_ns", pa.int64(), nullable=False),
        pa.field("unsynced_bytes", pa.int64(), nullable=False),
        pa.field("queued_blocks", pa.int64(), nullable=False),
        pa.field("blocked_ns", pa.int64(), nullable=False),
        pa.field("sync_count", pa.int64(), nullable=False),
        pa.field("sync_max_ns", pa.int64(), nullable=False),
        pa.field("lag_max_ns", pa.int64(), nullable=False),
        pa.field("backlog_bytes", pa.int64(), nullable=False),
        pa.field("hops", pa.string()),
    ]
)
QUARANTINE = pa.schema(
    [
        _TIME,
        pa.field("topic", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("payload", pa.large_binary(), nullable=False),
    ]
)
RESERVED_SCHEMAS = {"_events": EVENTS, "_gaps": GAPS, "_health": HEALTH, "_quarantine": QUARANTINE}
