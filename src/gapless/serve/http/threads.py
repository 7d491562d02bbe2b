"""A few threads kept for one purpose, which no other work can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class OwnThreads:
    """Runs work on at most ``most`` threads of its own; what is more waits. Used on one loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limiter: CapacityLimiter | None = None  # made on the loop that it belongs to

    async def run(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Return what ``work(*arguments)`` returns."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._most)
        return await run_sync(work, *arguments, limiter=self._limiter)
