"""How far the disk is behind the clients that write through a door."""

from __future__ import annotations

from collections.abc import Iterable

from gapless.store.writer import BundleWriter


def recording_figures(recordings: Iterable[BundleWriter]) -> dict[str, float]:
    """Return what open recordings hold together that is not durable, or not Parquet, yet."""
    known = list(recordings)
    sealers = [recording.sealer for recording in known if recording.sealer is not None]
    return {
        "gapless_unaccepted_bytes": sum(recording.hand_over.unsynced_bytes for recording in known),
        "gapless_sync_lag_seconds": max((recording.health.lag_max_ns for recording in known), default=0)
        / 1e9,
        "gapless_sealer_backlog_bytes": sum(sealer.backlog_bytes for sealer in sealers),
    }
