"""How many sequences a server writes at one time, whichever door they came by."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gapless.errors import LimitReached


class Places:
    """One for each sequence that is being written; every method may be called from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._taken = 0

    def check(self) -> None:
        """Raise LimitReached where no place is free at the moment."""
        if self._taken >= self._most:
            raise LimitReached("the server writes as many sequences as it takes", found=f"{self._taken} open")

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place for what is begun inside: where that fails it is free again, else who ends it frees it.

        LimitReached where none is free.
        """
        with self._lock:
            self.check()
            self._taken += 1
        try:
            yield
        except BaseException:
            self.free(1)
            raise

    def free(self, number: int) -> None:
        """Hear that so many sequences are no longer written."""
        with self._lock:
            self._taken -= number
