"""A file that is never whole: what a writer puts into it is taken out again and sent on its way."""

from __future__ import annotations

import io
from typing import Any


class Outbox(io.RawIOBase):
    """Takes bytes from a writer that thinks it writes a file; holds those that nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """Tell that it takes bytes."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy of the bytes."""
        piece = bytes(data)
        self._held.append(piece)
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how many bytes were written in all, which is the place in the file."""
        return self._written

    def take(self) -> bytes:
        """Return what was written since the last time, and forget it."""
        taken, self._held = b"".join(self._held), []
        return taken
