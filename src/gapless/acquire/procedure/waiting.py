"""Waiting for data: until a condition has held long enough, or a channel has given enough values."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gapless.acquire.emission import ChannelSample, SampleBlock
from gapless.acquire.procedure.condition import Condition
from gapless.acquire.procedure.context import ProcedureContext
from gapless.errors import ProcedureFailed

_NS = 1_000_000_000


class ConditionWatch:
    """Fed with samples in their order, tells when the condition has held for ``for_s`` seconds.

    Time is the samples' own. A value that is missing, NaN or flagged in its status makes what is said of
    its channel false until the next good one.
    """

    def __init__(self, condition: Condition, for_s: float = 0.0) -> None:
        self._condition = condition
        self._for_ns = round(for_s * _NS)
        self._values: dict[str, Any] = {}
        self._since_ns: int | None = None

    def feed(self, item: ChannelSample | SampleBlock) -> bool:
        """Take a sample or block; return whether the wait is over."""
        if isinstance(item, SampleBlock):
            return self._feed_block(item)
        self._values[item.channel] = None if item.status else item.value
        if not self._condition.holds(self._values):
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = item.timestamp_ns
        return item.timestamp_ns - self._since_ns >= self._for_ns

    def _feed_block(self, block: SampleBlock) -> bool:
        if len(block.values) == 0:
            return False
        good = _good(block)
        values = {**self._values, block.channel: block.values}
        holds = np.broadcast_to(self._condition.holds(values), good.shape) & (
            good | self._condition.holds({**self._values, block.channel: None})
        )
        self._values[block.channel] = block.values[-1].item() if good[-1] else None
        return self._advance(holds, block.timestamps_ns)

    def _advance(self, holds: np.ndarray, timestamps_ns: np.ndarray) -> bool:
        """Find whether it held for long enough at any value, and since when it holds at the last one."""
        index = np.arange(len(holds))
        last_miss = np.maximum.accumulate(np.where(holds, -1, index))
        begin_ns = timestamps_ns[np.minimum(last_miss + 1, len(holds) - 1)].copy()
        if self._since_ns is not None:
            begin_ns[last_miss < 0] = self._since_ns
        self._since_ns = int(begin_ns[-1]) if holds[-1] else None
        return bool((holds & (timestamps_ns - begin_ns >= self._for_ns)).any())


def _good(block: SampleBlock) -> np.ndarray:
    return np.ones(len(block.values), bool) if block.status is None else np.asarray(block.status) == 0


async def wait_until(
    context: ProcedureContext, condition: Condition, *, for_s: float, timeout_s: float
) -> bool:
    """Wait for samples that come from now on; return whether the condition held before the time was over."""
    watch = ConditionWatch(condition, for_s)
    return await _read(context, condition.channels, watch.feed, timeout_s)


async def wait_rows(context: ProcedureContext, channel: str, rows: int, timeout_s: float) -> bool:
    """Wait until a channel has given that many more values; return whether it did in time."""
    seen = 0

    def count(item: ChannelSample | SampleBlock) -> bool:
        nonlocal seen
        seen += len(item.values) if isinstance(item, SampleBlock) else 1
        return seen >= rows

    return await _read(context, [channel], count, timeout_s)


async def _read(
    context: ProcedureContext, channels: Sequence[str], is_last: Callable[[Any], bool], timeout_s: float
) -> bool:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            with context.subscribe(channels) as samples:
                while burst := await samples.get_burst():
                    if any(is_last(item) for item in burst):
                        return True
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    raise ProcedureFailed("the data ended while the method waited for it", found=", ".join(channels))
