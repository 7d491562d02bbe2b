"""The requests that are going on, so that each can be ended when it may go on no longer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from gapless.acquire.apart import apart
from gapless.errors import GaplessError, KeyRefused

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall
    from gapless.serve.http.sessions import Session
    from gapless.serve.rights import Access


class Running:
    """One request and the task that answers it. ``endless``: a stream that ends only when somebody ends it."""

    def __init__(self, call: HttpCall, *, endless: bool) -> None:
        self.call = call
        self.endless = endless
        self.ended_by: GaplessError | None = None
        self._task = asyncio.current_task()

    def cut(self, error: GaplessError) -> None:
        """End it: its task is cancelled once, and finds in ``ended_by`` what to tell the client."""
        if self.ended_by is None and self._task is not None:
            self.ended_by = error
            self._task.cancel()


class RunningCalls:
    """All requests of one server. Everything but :meth:`end_endless` is called on the loop."""

    def __init__(self) -> None:
        self._running: set[Running] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, running: Running) -> None:
        """Keep one that begins."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
        self._running.add(running)

    def remove(self, running: Running) -> None:
        """Forget one that is over."""
        self._running.discard(running)

    async def cut_unless(
        self, resume: Callable[[str | None], Access], is_over: Callable[[Session], bool]
    ) -> None:
        """End each request whose caller would not be let in now: ``resume`` raises KeyRefused for their key.

        So does one of a browser's session that ``is_over``.

        It is asked on a thread: a disk that does not answer holds up nobody's request.
        """
        if not self._running:
            return
        refused = await apart(_refusals, resume, {running.call.key_id for running in self._running})
        for running in list(self._running):
            error = refused.get(running.call.key_id)
            if error is None and running.call.session is not None and is_over(running.call.session):
                error = KeyRefused("the session of this browser has ended", next_step="sign in again")
            if error is not None:
                running.cut(error)

    def end_endless(self, error: GaplessError) -> None:
        """End all streams that would go on for ever, from any thread; answers that end by themselves go on."""
        with self._lock:
            loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._end_endless, error)

    def _end_endless(self, error: GaplessError) -> None:
        for running in list(self._running):
            if running.endless:
                running.cut(error)


def _refusals(
    resume: Callable[[str | None], Access], key_ids: set[str | None]
) -> dict[str | None, KeyRefused]:
    """Return why the bearers of some keys would not be let in; those who would be are left out."""
    refused: dict[str | None, KeyRefused] = {}
    for key_id in key_ids:
        try:
            resume(key_id)
        except KeyRefused as error:
            refused[key_id] = error
    return refused
