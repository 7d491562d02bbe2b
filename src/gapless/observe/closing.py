"""Sealing behind the back of a running simulation: one thread, in the order in which episodes ended."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from gapless.observe.episode import Ended, Episode


class Closer:
    """Seals episodes one after the other on its thread; what became of them is asked for with :meth:`ended`."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Episode | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Episode, Ended | BaseException]] = queue.SimpleQueue()
        self._given = 0
        self._taken = 0
        self._thread: threading.Thread | None = None

    def give(self, episode: Episode) -> None:
        """Seal a closed episode soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gapless-episode-sealer", daemon=True)
            self._thread.start()
        self._given += 1
        self._waiting.put(episode)

    def ended(self, take: Callable[[Episode, Ended | BaseException], None], *, wait: bool) -> None:
        """Call ``take`` for every episode that was sealed, or failed to be, since the last call; ``wait``: for all."""
        while self._taken < self._given:
            try:
                episode, found = self._done.get(block=wait)
            except queue.Empty:
                return
            self._taken += 1
            take(episode, found)

    def stop(self) -> None:
        """End the thread after what it was given."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (episode := self._waiting.get()) is not None:
            self._done.put((episode, _sealed(episode)))


def _sealed(episode: Episode) -> Ended | BaseException:
    try:
        return episode.seal()
    except BaseException as error:  # noqa: BLE001 - the thread's boundary: the observer's next call raises it
        return error
