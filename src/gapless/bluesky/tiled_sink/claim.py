"""Which sink delivers which run, so that two processes with one store never send the same run at once."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

from gapless.bluesky.spool import FOLDER
from gapless.errors import SequenceOwned
from gapless.store.platform import PLATFORM, Platform

_LEFT_BEHIND: Final = "left-behind"
_ON_REQUEST: Final = "on-request"


class Claim:
    """The right of one sink to its own runs, and of one sink at a time to those that dead ones left behind.

    It is a locked file in ``<store>/spool/sinks``, so it ends with the process, however that ends.
    """

    def __init__(self, store: Path, *, platform: Platform = PLATFORM) -> None:
        self.id = uuid.uuid4().hex
        self._folder = store / FOLDER / "sinks"
        self._platform = platform
        self._folder.mkdir(parents=True, exist_ok=True)
        self._held = {self.id: platform.lock(self._path(self.id))}

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def take_left_behind(self) -> bool:
        """Take the runs of dead sinks, for as long as this one lives; False while another one has them."""
        return self._take(_LEFT_BEHIND)

    def take_requests(self) -> bool:
        """Take the sending of runs that a person asks for; False while another one has it."""
        return self._take(_ON_REQUEST)

    def _take(self, name: str) -> bool:
        """Take what has this name; False while another one has it."""
        if name in self._held:
            return True
        try:
            self._held[name] = self._platform.lock(self._path(name))
        except SequenceOwned:
            return False
        return True

    def is_free(self, sink: object) -> bool:
        """Tell whether the sink that a run names is dead."""
        known = isinstance(sink, str) and sink.isalnum()
        return not (known and self._platform.is_locked(self._path(str(sink))))

    def release(self) -> None:
        """Give everything back."""
        self._path(self.id).unlink(missing_ok=True)
        while self._held:
            self._platform.close(self._held.popitem()[1])
