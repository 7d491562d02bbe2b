"""The bounded hand-over of documents from the thread of the experiment to the thread that records them."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final

_POLL_S: Final = 0.05


class HandOver:
    """Takes items from any thread and gives them to one thread, in order and in groups.

    :meth:`put` costs an append while there is room. ``blocked`` counts the puts that had to wait.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max = max_waiting
        self._items: deque[Any] = deque()
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._room = threading.Condition()
        self._asleep = False
        self._saturated = False
        self.blocked = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any, deadline_s: float) -> bool:
        """Append an item; False when there was no room for ``deadline_s``. Then the next does not wait."""
        if len(self._items) >= self._max and not self._wait_for_room(deadline_s):
            return False
        self._items.append(item)
        if self._asleep:
            self._some.set()
        return True

    def put_now(self, item: Any) -> None:
        """Append an item whatever the bound, and let the taker take it at once."""
        self._items.append(item)
        self._some.set()
        self._hurry.set()

    def hurry(self) -> None:
        """Let the taker take what is there without gathering more."""
        self._hurry.set()

    def _wait_for_room(self, deadline_s: float) -> bool:
        self.blocked += 1
        self._hurry.set()
        give_up = time.monotonic() + (0.0 if self._saturated else deadline_s)
        with self._room:
            while len(self._items) >= self._max:
                left_s = give_up - time.monotonic()
                if left_s <= 0:
                    self._saturated = True
                    return False
                self._room.wait(min(left_s, _POLL_S))
        self._saturated = False
        return True

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until there is an item; False when none came in time."""
        self._asleep = True
        try:
            if not self._items:
                self._some.wait(timeout_s)
            return bool(self._items)
        finally:
            self._asleep = False
            self._some.clear()

    def gather(self, group_s: float) -> None:
        """Give the next items time to come, unless someone is in a hurry."""
        if group_s > 0:
            self._hurry.wait(group_s)
        self._hurry.clear()

    def take(self, at_most: int) -> list[Any]:
        """Take items that are there, in order."""
        items = self._items
        taken = [items.popleft() for _ in range(min(at_most, len(items)))]
        if len(items) + len(taken) >= self._max:
            with self._room:
                self._room.notify_all()
        return taken
