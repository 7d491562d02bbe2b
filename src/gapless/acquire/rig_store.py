"""The store that a rig records into, opened with the rig's limits and within a deadline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gapless.acquire.attempt import Attempt
from gapless.errors import PreflightFailed

if TYPE_CHECKING:
    from gapless.acquire.settings import RunSettings
    from gapless.client.client import Client


def open_store(store: str | os.PathLike[str], settings: RunSettings) -> Client:
    """Return a client of the store, or raise PreflightFailed when its disk does not answer in time."""
    from gapless.client.client import connect

    opened: list[Client] = []

    def call() -> None:
        opened.append(
            connect(
                store,
                flush_ms=settings.flush_ms,
                max_unsynced_bytes=settings.max_unsynced_bytes,
                deadline_s=settings.seal_deadline_s,
            )
        )

    late = PreflightFailed(
        "the disk did not open the store in time",
        found=str(store),
        expected=f"within {settings.seal_deadline_s:g} s",
        next_step="see why the disk hangs, or record into another place with --store",
    )
    Attempt("open-store", call, lambda _error: opened[0].close()).within(settings.seal_deadline_s, late)
    return opened[0]


__all__ = ["open_store"]
