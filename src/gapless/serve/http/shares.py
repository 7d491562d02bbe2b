"""How much of the server one caller can take: what is more waits, so that others still get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from gapless.errors import LimitReached

AT_ONCE: Final = 20  # requests of one caller that work; there are 32 threads
STREAMS: Final = 64  # of one caller, which wait for news most of the time


class Shares:
    """Counts the requests of each caller, known by key, or by machine where no key is asked for. On one loop."""

    def __init__(self, at_once: int = AT_ONCE, streams: int = STREAMS) -> None:
        self._at_once = at_once
        self._streams = streams
        self._callers: dict[str, _Caller] = {}

    async def take(self, caller: str) -> Share:
        """Wait until the caller may have one more request; return its place."""
        share = Share(self, caller)
        await share.take()
        return share

    def follow(self, caller: str) -> None:
        """Count a stream of the caller, which needs no place; LimitReached for one too many."""
        known = self._callers.setdefault(caller, _Caller(self._at_once))
        if known.streams >= self._streams:
            raise LimitReached(
                "the caller follows as much as they may", found=f"{known.streams} streams",
                next_step="close pages or programs that are not needed, and try again",
            )  # fmt: skip
        known.streams += 1

    def unfollow(self, caller: str) -> None:
        """Count a stream as ended."""
        self._callers[caller].streams -= 1
        self._tidy(caller)

    async def wait(self, caller: str) -> None:
        """Wait until it is the caller's turn. :class:`Share` gives it back."""
        known = self._callers.setdefault(caller, _Caller(self._at_once))
        known.requests += 1
        try:
            await known.places.acquire()
        except BaseException:
            self._leave(caller)
            raise

    def give_back(self, caller: str) -> None:
        """Let the caller's next request have a place."""
        self._callers[caller].places.release()
        self._leave(caller)

    def _leave(self, caller: str) -> None:
        self._callers[caller].requests -= 1
        self._tidy(caller)

    def _tidy(self, caller: str) -> None:
        known = self._callers[caller]
        if not known.requests and not known.streams:
            del self._callers[caller]


class Share:
    """One place; it is given back once, however often that is said."""

    def __init__(self, shares: Shares, caller: str) -> None:
        self._shares = shares
        self._caller = caller
        self._held = False

    async def take(self) -> None:
        """Wait for the place."""
        await self._shares.wait(self._caller)
        self._held = True

    def give_back(self) -> None:
        """Give the place to the caller's next request."""
        if self._held:
            self._held = False
            self._shares.give_back(self._caller)

    async def aside(self, sending: Awaitable[None], *, more: bool) -> None:
        """Wait for a reader, however slow, and give the place away meanwhile; then, for ``more``, have it again."""
        held = self._held
        self.give_back()
        await sending
        if held and more:
            await self.take()


class _Caller:
    def __init__(self, at_once: int) -> None:
        self.places = asyncio.Semaphore(at_once)
        self.requests = 0  # that have a place or wait for one
        self.streams = 0
