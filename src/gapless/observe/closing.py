"""Sealing behind the back of a running simulation: one thread, in the order in which episodes ended.

What was given is in one list until it was told of, and whoever looks at the list sees to it that a thread
works on it: so a Ctrl-C between any two lines leaves nothing that is never sealed or waited for in vain.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from gapless.observe.episode import Ended, Episode

_LOOK_S = 0.2


class _Sealing:
    """One episode on its way to its seal."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.found: Ended | BaseException | None = None
        self.done = threading.Event()


class Closer:
    """Seals episodes one after the other on its thread; what became of them is asked for with :meth:`ended`."""

    def __init__(self) -> None:
        self._sealings: deque[_Sealing] = deque()  # given and not told of, oldest first
        self._thread: threading.Thread | None = None
        self._one = threading.Lock()  # a Ctrl-C while a thread starts leaves two of them

    def give(self, episode: Episode) -> None:
        """Seal a closed episode soon."""
        self._sealings.append(_Sealing(episode))
        self._work()

    def has(self, episode: Episode) -> bool:
        """Tell whether the episode was given and not told of yet."""
        return any(sealing.episode is episode for sealing in self._sealings)

    def ended(self, take: Callable[[Episode, Ended | BaseException], None], *, wait: bool) -> None:
        """Call ``take`` for every episode that was sealed, or failed to be, since the last call; ``wait``: for all."""
        while self._sealings:
            sealing = self._sealings[0]
            self._work()
            while wait and not sealing.done.wait(_LOOK_S):
                self._work()
            if not sealing.done.is_set():
                return
            assert sealing.found is not None
            take(sealing.episode, sealing.found)
            self._sealings.popleft()

    def stop(self) -> None:
        """Return when all that was given is sealed."""
        while any(not sealing.done.is_set() for sealing in self._sealings):
            self._work()
            assert self._thread is not None
            self._thread.join(_LOOK_S)

    def _work(self) -> None:
        """See to it that a thread works if there is something to do."""
        if self._thread is not None and self._thread.is_alive():
            return
        if any(not sealing.done.is_set() for sealing in self._sealings):
            thread = threading.Thread(target=self._run, name="gapless-episode-sealer", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        with self._one:
            while (
                sealing := next((s for s in list(self._sealings) if not s.done.is_set()), None)
            ) is not None:
                sealing.found = _sealed(sealing.episode)
                sealing.done.set()


def _sealed(episode: Episode) -> Ended | BaseException:
    try:
        return episode.seal()
    except BaseException as error:  # noqa: BLE001 - the thread's boundary: the observer's next call raises it
        return error
