"""Waiting for another thread in tests: until something is true, with a bound that only a fault reaches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition is true; fail when it does not become true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.001)


async def until_in_loop(condition: Callable[[], bool]) -> None:
    """Return when the condition is true, while other tasks of the loop run."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        await asyncio.sleep(0.001)


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts how often other threads woke it."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> Any:
        """Count, and do what a loop does."""
        self.wakes += 1
        return super().call_soon_threadsafe(callback, *args, context=context)
