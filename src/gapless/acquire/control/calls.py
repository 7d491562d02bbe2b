"""Blocking calls from a loop: each on a daemon thread of its own, with a deadline, and not too many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from gapless.errors import ControlFailed

T = TypeVar("T")

MAX_CALLS = 16


class BoundedCalls:
    """A call that is given up goes on in its thread: what was begun with a device is not cut in half."""

    def __init__(self, limit: int = MAX_CALLS) -> None:
        self._limit = limit
        self._running = 0
        self.undelivered: BaseException | None = None

    async def run(self, what: str, call: Callable[[], T], timeout_s: float, *, urgent: bool = False) -> T:
        """Return what the call returns, or raise what it raises.

        ControlFailed when it does not end in time or when too many others have not ended yet; an
        ``urgent`` call is always made.
        """
        if self._running >= self._limit and not urgent:
            raise ControlFailed(
                f"{what}: the run is busy with {self._running} other requests", next_step="try again"
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._running += 1
        worker = threading.Thread(
            target=self._work, args=(call, loop, answer), name=f"gapless-control-{what}", daemon=True
        )
        worker.start()
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ControlFailed(
                f"{what}: no answer from the run in time; it may still come into effect",
                expected=f"within {timeout_s:g} s",
                next_step="`gapless watch` shows what the run does",
            ) from error

    def _work(
        self, call: Callable[[], T], loop: asyncio.AbstractEventLoop, answer: asyncio.Future[T]
    ) -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - the thread's end: who asked gets it
            failure = error
        try:
            loop.call_soon_threadsafe(self._deliver, answer, result, failure)
        except RuntimeError as error:  # the loop has ended: nobody waits for the answer any more
            self.undelivered = error

    def _deliver(self, answer: asyncio.Future[T], result: T, failure: BaseException | None) -> None:
        self._running -= 1
        if answer.done():
            return
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure)
