"""The knobs of durability: when a sync starts, and how much may wait for one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Durability:
    """A sync starts ``flush_ms`` after a row, or at ``flush_bytes`` or ``flush_rows``, whichever is first.

    ``max_unsynced_bytes`` bounds what is handed over and not synced; ``deadline_s`` bounds every wait;
    a record above ``max_record_bytes`` is refused.
    """

    flush_ms: int = 250
    flush_bytes: int = 1 << 20
    flush_rows: int | None = None
    max_unsynced_bytes: int = 64 << 20
    deadline_s: float = 30.0
    max_record_bytes: int = 512 << 20
