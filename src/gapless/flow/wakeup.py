"""Those who wait for one thing, tasks of any event loop and plain threads, woken together from any thread.

However many tasks of a loop wait, waking them costs one ``call_soon_threadsafe``. A loop that is closed
cannot be woken; that is counted, and whoever rings goes on.
"""

from __future__ import annotations

import asyncio
import threading

Party = asyncio.Future[None] | threading.Event


class Wakeup:
    """The waiting parties of one side of a bridge.

    The owner calls everything but ``ring`` under its lock, and ``ring`` outside of it.
    """

    __slots__ = ("lost_loops", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Party] = []
        self.lost_loops = 0

    def enlist_task(self) -> asyncio.Future[None]:
        """Return what the running task awaits; it is woken by the next ring."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return future

    def enlist_thread(self) -> threading.Event:
        """Return what the calling thread waits on; it is set by the next ring."""
        event = threading.Event()
        self.waiting.append(event)
        return event

    def withdraw(self, party: Party) -> None:
        """Forget a party that waits no more; one that was woken is forgotten already."""
        if party in self.waiting:
            self.waiting.remove(party)

    def gather(self) -> list[Party]:
        """Return everyone who waits, for ``ring``, and forget them."""
        parties, self.waiting = self.waiting, []
        return parties

    def ring(self, parties: list[Party]) -> None:
        """Wake the parties: one call for each loop, in the order in which they came."""
        loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for party in parties:
            if isinstance(party, threading.Event):
                party.set()
            else:
                loops.setdefault(party.get_loop(), []).append(party)
        for loop, futures in loops.items():
            try:
                loop.call_soon_threadsafe(resolve, futures)
            except RuntimeError:
                if not loop.is_closed():
                    raise
                self.lost_loops += 1


def resolve(futures: list[asyncio.Future[None]]) -> None:
    """Wake the tasks that await these futures and still wait; runs on their loop."""
    for future in futures:
        if not future.done():
            future.set_result(None)
