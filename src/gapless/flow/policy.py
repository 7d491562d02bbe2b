"""What a bounded hand-over does when it is full: one set of words for bridges and subscriptions."""

from __future__ import annotations

from enum import StrEnum


class BackpressurePolicy(StrEnum):
    """What happens to an item that finds no room."""

    BLOCK = "block"  # its producer waits; nothing is lost
    DROP_OLDEST = "drop_oldest"  # the oldest waiting item is given up for it, and counted
    DROP_NEWEST = "drop_newest"  # it is given up itself, and counted
    ABORT_RUN = "abort_run"  # its producer waits for a limited time, then the run is ended
