"""A thread of its own for what blocks, whose findings a device streams in their order."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from typing import Generic, TypeVar

from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy

T = TypeVar("T")
_CAPACITY = 256
_JOIN_S = 1.0


class Capture(Generic[T]):
    """Runs ``work`` on a daemon thread while :meth:`stream` is read; what it gives comes out in order.

    ``work`` returns at the end of its source, or soon after :attr:`stopping`. What it raises, the stream
    raises after everything that was given. ``give_timeout_s``: how long one item may wait for room.
    """

    def __init__(self, name: str, work: Callable[[Capture[T]], None], give_timeout_s: float = 60.0) -> None:
        self._work = work
        self._give_timeout_s = give_timeout_s
        self._bridge: ThreadBridge[T] = ThreadBridge(
            name, capacity=_CAPACITY, policy=BackpressurePolicy.BLOCK
        )
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"gapless-capture-{name}", daemon=True)

    # -- on the thread -------------------------------------------------------------------------

    def give(self, item: T) -> None:
        """Hand over one item; raises DeadlinePassed without room, BridgeClosed when nobody reads any more."""
        self._bridge.put_blocking(item, self._give_timeout_s)

    def pause(self, seconds: float) -> bool:
        """Wait, or until stopped; return whether stopped."""
        return self._stopping.wait(max(0.0, seconds))

    @property
    def stopping(self) -> bool:
        """Whether the work is to end."""
        return self._stopping.is_set()

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the stream raises it
            self._error = error
        finally:
            self._bridge.close()

    # -- on the loop ---------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the work to end; what it still gives is streamed."""
        self._stopping.set()

    async def stream(self) -> AsyncGenerator[T, None]:
        """Start the thread and yield what it gives, until its work has ended."""
        self._thread.start()
        try:
            while burst := await self._bridge.get_burst():
                for item in burst:
                    yield item
            self._thread.join(_JOIN_S)
        finally:
            self._stopping.set()
            self._bridge.close()
        if self._error is not None:
            raise self._error

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread, from another one; return whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()


__all__ = ["Capture"]
