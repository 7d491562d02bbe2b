"""One browser's view of something live: the newest of everything, a bounded number of events, never waited for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

MAX_EVENTS: Final = 256
MAX_VALUES: Final = 256


class LiveMirror:
    """Takes messages from a feed's thread and is emptied by the browser's own connection.

    Of each channel and of the status the newest is kept; of events and gaps the newest :data:`MAX_EVENTS`,
    and ``dropped`` counts those that went before they were taken. ``replaced`` counts values of channels that
    a newer one replaced. So a browser that reads nothing costs the same however long it does.
    ``channels``: globs of the channels to keep; None keeps all of them.
    """

    def __init__(self, channels: Sequence[str] | None = None) -> None:
        self._globs = channels
        self._wanted: dict[str, bool] = {}
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {}
        self._frames: dict[str, Any] = {}
        self._told: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._status: dict[str, Any] | None = None
        self._end: dict[str, Any] | None = None
        self.dropped = 0
        self.replaced = 0
        self.depth_max = 0

    def put(self, message: dict[str, Any]) -> None:
        """Take a message; never waits for the browser."""
        kind = message["stream"]
        with self._lock:
            if kind == "samples":
                self._keep(message)
            elif kind == "status":
                self._status = message
            elif kind == "end":
                self._end = message
            else:
                self.dropped += len(self._told) == MAX_EVENTS
                self._told.append(message)
                self.depth_max = max(self.depth_max, len(self._told))

    def _keep(self, message: dict[str, Any]) -> None:
        for name, sample in message["samples"].items():
            if self._wants(name):
                self.replaced += name in self._values
                self._values[name] = sample
        self._frames.update(message.get("frames", {}))

    def _wants(self, name: str) -> bool:
        if self._globs is None:
            return True
        wanted = self._wanted.get(name)
        if wanted is None:
            wanted = self._wanted[name] = any(fnmatchcase(name, glob) for glob in self._globs)
        return wanted

    def take_values(self) -> dict[str, Any] | None:
        """Return the newest values that were not taken yet, at most :data:`MAX_VALUES`; None without any.

        Those left out come first next time.
        """
        with self._lock:
            if not self._values and not self._frames:
                return None
            names = list(self._values)[:MAX_VALUES]
            samples = {name: self._values.pop(name) for name in names}
            frames, self._frames = self._frames, {}
            return {"samples": samples, "frames": frames, "replaced": self.replaced}

    def take_told(self) -> list[dict[str, Any]]:
        """Return the events and gaps that were not taken yet, in their order."""
        with self._lock:
            told = list(self._told)
            self._told.clear()
            return told

    def forget_until(self, told_id: str | None) -> None:
        """Forget the events and gaps up to the one of that id, for one who knows them; all stay if none has it."""
        with self._lock:
            ids = [told["id"] for told in self._told]
            if told_id in ids:
                for _ in range(ids.index(told_id) + 1):
                    self._told.popleft()

    def take_status(self) -> dict[str, Any] | None:
        """Return the newest status, None when it was taken already."""
        with self._lock:
            status, self._status = self._status, None
            return status

    @property
    def end(self) -> dict[str, Any] | None:
        """How it ended, None while it lasts; ask before taking the rest, which is then all there is."""
        with self._lock:
            return self._end
