"""The bounded hand-over of documents from the thread of the experiment to the thread that records them."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Final, NamedTuple

from gapless.errors import WriterClosed

_POLL_S: Final = 0.05
_TAKEN_BYTES: Final = 64 << 20
_LARGE_BYTES: Final = 1_024  # smaller items are bounded by their number alone


class _Large(NamedTuple):
    """An item that is counted by its size too."""

    what: Any
    size_bytes: int


class HandOver:
    """Takes items from any thread and gives them to one thread, in order and in groups.

    :meth:`put` costs an append while there is room: fewer items than ``max_waiting``, and fewer bytes in them
    than ``max_bytes``. ``blocked`` counts the puts that had to wait. Behind :meth:`close` nothing is taken: a
    put that comes too late raises WriterClosed, and one that returned is in front of the last item.
    """

    def __init__(self, max_waiting: int, max_bytes: int) -> None:
        self._max = max_waiting
        self._max_bytes = max_bytes
        self._items: deque[Any] = deque()
        self._last: Any = None
        self._some = threading.Event()
        self._hurry = threading.Event()
        self._room = threading.Condition()
        self._waiting_bytes = 0
        self._asleep = False
        self._saturated = False
        self.blocked = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, what: Any, deadline_s: float, *, size_bytes: int = 0, always: bool = False) -> bool:
        """Append an item; False when there was no room for ``deadline_s``. Then the next does not wait.

        With ``always`` it is appended then all the same. Raises WriterClosed after :meth:`close`.
        """
        if self._is_full() and not self._wait_for_room(deadline_s) and not always:
            return False
        if size_bytes >= _LARGE_BYTES:
            with self._room:
                self._waiting_bytes += size_bytes
            what = _Large(what, size_bytes)
        self._append(what)
        if self._asleep:
            self._some.set()
        return True

    def put_now(self, what: Any) -> None:
        """Append an item whatever the bound, and let the taker take it at once; raises WriterClosed."""
        self._append(what)
        self._some.set()
        self._hurry.set()

    def close(self, what: Any) -> None:
        """Append the last item; a second call does nothing."""
        with self._room:
            if self._last is None:
                self._last = what
                self._items.append(what)
        self._some.set()
        self._hurry.set()

    def hurry(self) -> None:
        """Let the taker take what is there without gathering more."""
        self._hurry.set()

    def _append(self, item: Any) -> None:
        self._items.append(item)
        if self._last is not None:  # looked at behind the append: whoever comes second sees the other
            with self._room:
                self._take_back(item)

    def _take_back(self, item: Any) -> None:
        """Remove an item that lies behind the last one, where nobody takes it."""
        for place in range(len(self._items) - 1, -1, -1):
            if self._items[place] is self._last:
                return
            if self._items[place] is item:
                del self._items[place]
                raise closed()

    def _is_full(self) -> bool:
        return len(self._items) >= self._max or self._waiting_bytes >= self._max_bytes

    def _wait_for_room(self, deadline_s: float) -> bool:
        self.blocked += 1
        self._hurry.set()
        give_up = time.monotonic() + (0.0 if self._saturated else deadline_s)
        with self._room:
            while self._is_full():
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
        """Take what is there, in order: up to a number of items, and of large ones fewer."""
        items, taken, size_bytes = self._items, [], 0
        with self._room:
            was_full = self._is_full()
            for _ in range(min(at_most, len(items))):
                item = items.popleft()
                if item.__class__ is _Large:
                    size_bytes += item.size_bytes
                    item = item.what
                taken.append(item)
                if item is self._last or size_bytes >= _TAKEN_BYTES:
                    break
            self._waiting_bytes -= size_bytes
            if was_full:
                self._room.notify_all()
        return taken


def closed() -> WriterClosed:
    """Return the error of a document that comes after the end."""
    return WriterClosed(
        "the writer is closed; the document was not taken",
        next_step="make a new writer and subscribe it to the RunEngine in place of this one",
    )
