"""An output stream that outlives its reader: what goes on recording does not end because nobody reads any more."""

from __future__ import annotations

import os
from typing import IO, Any


class LastingStream:
    """Writes to a stream until it takes nothing more, as when its pipe or terminal is gone, and then to nobody.

    ``reader_has_gone`` tells whether that has happened. No write and no flush raises OSError.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.reader_has_gone = False

    def write(self, text: str) -> int:
        """Write the text if somebody reads, and return its length."""
        try:
            self._stream.write(text)
        except OSError:
            self._turn_away()
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            self._stream.flush()
        except OSError:
            self._turn_away()

    def _turn_away(self) -> None:
        """Let the stream's descriptor lead to nobody: what is buffered goes there when Python ends."""
        self.reader_has_gone = True
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, self._stream.fileno())
        os.close(nobody)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
