"""Answers that are made while they are read: each holds rows in memory for as long as its reader takes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import Final

from gapless.errors import LimitReached

OF_A_CALLER: Final = 8
TOGETHER: Final = 24
_PATIENCE_S: Final = 10.0  # for readers that read, whose answers end


class Downloads:
    """Bounds how many there are, for each caller and together. On one loop."""

    def __init__(self) -> None:
        self._callers: Counter[str] = Counter()
        self._freed = asyncio.Event()

    async def begin(self, caller: str, ending: ExitStack) -> None:
        """Count one until ``ending``; LimitReached when there is no room for it within ten seconds."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not self._has_room(caller):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError as error:
            raise LimitReached(
                "too many answers are on their way", found=f"{self._callers[caller]} to the caller",
                expected=f"at most {OF_A_CALLER} to one, {TOGETHER} to all",
                next_step="read those that were begun, or end them",
            ) from error  # fmt: skip
        self._callers[caller] += 1
        ending.callback(self._end, caller)

    def _end(self, caller: str) -> None:
        self._callers[caller] -= 1
        if not self._callers[caller]:
            del self._callers[caller]
        self._freed.set()

    def _has_room(self, caller: str) -> bool:
        return self._callers[caller] < OF_A_CALLER and self._callers.total() < TOGETHER
