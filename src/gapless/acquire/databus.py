"""The run's data bus: procedures, analyzers and monitors read samples here, never from the UI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gapless.acquire.emission import ChannelSample, SampleBlock, SourceRecord
from gapless.flow.bus import DataBus


def channel_of(item: Any) -> str | None:
    """Return the channel of a sample or block; records have none."""
    kind = type(item)
    return item.channel if kind is ChannelSample or kind is SampleBlock else None


def device_of(item: Any) -> str | None:
    """Return the device that a sample or record came from."""
    if type(item) is SourceRecord:
        return str(item.device)
    parts = item.source_record_id.split(":", 2)
    return parts[1] if len(parts) == 3 else None


class ConductorDataBus(DataBus[Any]):
    """Samples of a run by channel, by device, all, or by a predicate; belongs to the conductor's loop.

    Every subscription has its own bounded queue and policy: BLOCK holds the run back until it is read,
    DROP_OLDEST loses the oldest, ABORT_RUN ends the run when its reader stays behind.
    """

    def __init__(self, on_abort: Callable[[str], None] | None = None) -> None:
        super().__init__(channel_of=channel_of, device_of=device_of, on_abort=on_abort)
