"""Devices that keep a session with a server: they say when it breaks, and join again until they are closed."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from itertools import chain, repeat
from typing import Any

from gapless.acquire.adapter import Bus, StartContext
from gapless.acquire.devices.outage import Outage
from gapless.acquire.emission import Emission
from gapless.acquire.kit import TROUBLE
from gapless.acquire.pushed import PushedDevice
from gapless.errors import DeviceFault

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_CANCELLATIONS = 5


class SessionDevice(PushedDevice):
    """A pushed device behind a session that one task serves from ``open`` to ``close``.

    A session that breaks gives one event, one gap that nobody can count and one event of the return,
    however many attempts it takes; between runs it is mended silently.
    """

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self.outage = Outage(self, name)
        self._keeper: asyncio.Task[None] | None = None
        self._is_joined = False
        self._is_sampling = False
        self._asking = asyncio.Lock()

    def share(self, bus: Bus) -> None:
        """Use the resource's bus, and the loop that it belongs to, from now on."""
        super().share(bus)
        self._asking = asyncio.Lock()  # a lock belongs to the loop it was first waited on

    # -- what a subclass says ------------------------------------------------------------------

    @abstractmethod
    async def join(self) -> None:
        """Make a session; raise one of TROUBLE, or be cancelled, and leave nothing open."""

    @abstractmethod
    async def subscribe(self) -> None:
        """Ask for the values of a run; raise one of TROUBLE."""

    @abstractmethod
    async def unsubscribe(self) -> None:
        """Ask for no more; must not raise for a session that is broken already."""

    @abstractmethod
    async def serve(self) -> None:
        """Deliver what comes until the session breaks, then raise one of TROUBLE."""

    @abstractmethod
    async def leave(self) -> None:
        """End what is left of the session; must not raise for one that is broken already."""

    # -- the session ---------------------------------------------------------------------------

    @property
    def is_joined(self) -> bool:
        """Whether there is a session, as far as anybody knows."""
        return self._is_joined

    @property
    def is_sampling(self) -> bool:
        """Whether a run takes what is delivered."""
        return self._is_sampling

    async def connect(self) -> None:
        """Make the first session and begin to keep it."""
        await self.join()
        self._is_joined = True
        self._keeper = asyncio.create_task(self._keep(), name=f"session of {self.name}")
        self._keeper.add_done_callback(self._keeper_ended)

    async def disconnect(self) -> None:
        """Keep the session no longer, and leave it."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await self._end(keeper)
        self._is_joined = False
        await self.leave()

    async def _end(self, keeper: asyncio.Task[None]) -> None:
        """Cancel the keeper, again where a client library takes the cancellation for its own."""
        for _ in range(_CANCELLATIONS):
            keeper.cancel()
            await asyncio.wait({keeper}, timeout=self.config.open_timeout_s)
            if keeper.done():
                return
        raise DeviceFault(f"the session of {self.name!r} does not end")

    async def _keep(self) -> None:
        while True:
            try:
                await self.serve()
            except TROUBLE as error:
                self.outage.begin(error, self.silent_since_ns(error))
            await self._part()
            await self._rejoin()

    async def _part(self) -> None:
        self._is_joined = False
        await self.leave()

    def silent_since_ns(self, error: BaseException) -> int | None:
        """Return since when nothing may have come before ``error`` was noticed; None: since it was."""
        del error
        return None

    async def _rejoin(self) -> None:
        """Try until there is a session again that gives what the run asks for."""
        for pause_s in chain(_BACKOFF_S, repeat(_BACKOFF_S[-1])):
            await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout(self.config.open_timeout_s):
                    await self.join()
                    self._is_joined = True
                    await self._ask()
            except TROUBLE as error:
                self.outage.begin(error)
                await self._part()
                continue
            self.outage.end()
            return

    async def _ask(self) -> None:
        async with self._asking:
            if self._is_sampling and self._is_joined:
                await self.subscribe()

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        """End the stream of a run whose session nobody keeps any more."""
        if not keeper.cancelled() and self._inbox is not None:
            self._inbox.close()

    # -- one run -------------------------------------------------------------------------------

    async def start(self, context: StartContext) -> None:
        """Begin to take what is delivered, and ask for it; a session that is away is told at once."""
        await super().start(context)
        self.outage.run_began()
        self._is_sampling = True
        await self._ask()

    async def stop(self) -> None:
        """Take no more; an outage that lasts leaves its gap."""
        was_sampling, self._is_sampling = self._is_sampling, False
        if was_sampling:
            self.outage.run_ends()
        await super().stop()
        if was_sampling:
            async with self._asking:
                if self._is_joined:
                    await self.unsubscribe()

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield what is delivered until stopped; raise the defect that ended the keeping of the session."""
        async for emission in super().stream():
            yield emission
        if self._keeper is not None and self._keeper.done() and not self._keeper.cancelled():
            self._keeper.result()


__all__ = ["SessionDevice"]
