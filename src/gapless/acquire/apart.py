"""A blocking call beside a loop, on a daemon thread of its own: no pool that stuck code could fill."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def apart(call: Callable[..., T], *arguments: Any) -> T:
    """Return what the call returns, or raise what it raises; a call that never ends holds up nothing else."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where T allows it

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = call(*arguments)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the caller gets it
            problem = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name=f"gapless-{getattr(call, '__name__', 'call')}", daemon=True).start()
    return await answer
