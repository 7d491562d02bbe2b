"""The journal's segment files as the writer thread sees them: append frames, sync, roll over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gapless.store.frame import HEADER_BYTES, Kind, encode_header
from gapless.store.layout import segment_name
from gapless.store.platform import Bytes, Platform


class SegmentFile:
    """Appends frames to the current segment; not thread-safe: it belongs to the writer thread.

    ``opening`` is the payload of the OPEN frame that begins every segment, so that any one segment
    tells whose it is. ``after`` is the number of the last segment that is there already. After an OSError the
    object must not be used again.
    """

    def __init__(
        self,
        journal: Path,
        platform: Platform,
        nonce: int,
        opening: bytes,
        segment_bytes: int,
        on_closed: Callable[[Path], None],
        after: int = 0,
    ) -> None:
        self.journal = journal
        self.platform = platform
        self.nonce = nonce
        self.opening = opening
        self.segment_bytes = segment_bytes
        self.on_closed = on_closed
        self.number = after
        self.offset = 0
        self.unsynced_bytes = 0  # written, not synced
        self.waiting_bytes = 0  # queued, not written
        self._fd = -1
        self._waiting: list[Bytes] = []
        self._open_next()

    @property
    def pending_bytes(self) -> int:
        """Bytes of frames that are not durable yet."""
        return self.unsynced_bytes + self.waiting_bytes

    @property
    def path(self) -> Path:
        """The current segment."""
        return self.journal / segment_name(self.number)

    def append(
        self,
        kind: Kind,
        topic: int,
        first_seq: int,
        rows: int,
        payload: Bytes,
        value_bytes: int,
        flags: int = 0,
    ) -> None:
        """Queue one frame; :meth:`write` puts it into the file."""
        size = HEADER_BYTES + len(payload)
        if self.offset + size > self.segment_bytes and self.offset > HEADER_BYTES + len(self.opening):
            self._roll()
        self._queue(kind, topic, first_seq, rows, payload, value_bytes, flags)

    def _queue(
        self, kind: Kind, topic: int, first_seq: int, rows: int, payload: Bytes, value_bytes: int, flags: int
    ) -> None:
        header = encode_header(
            kind, self.nonce, self.number, topic, first_seq, rows, payload, value_bytes, flags
        )
        self._waiting += (header, payload) if len(payload) else (header,)
        self.offset += HEADER_BYTES + len(payload)
        self.waiting_bytes += HEADER_BYTES + len(payload)

    def write(self) -> None:
        """Write the queued frames; they are not durable yet."""
        if self._waiting:
            self.unsynced_bytes += self.platform.write(self._fd, self._waiting)
            self._waiting = []
            self.waiting_bytes = 0

    def sync(self) -> None:
        """Return when everything written is durable."""
        if self.unsynced_bytes:
            self.platform.data_sync(self._fd)
            self.unsynced_bytes = 0

    def _roll(self) -> None:
        self.write()
        self.sync()
        closed = self.path
        self.platform.close(self._fd)
        self._fd = -1
        self._open_next()
        self.on_closed(closed)

    def _open_next(self) -> None:
        self.number += 1
        self.offset = 0
        self._fd = self.platform.create(self.path)
        self.platform.sync_directory(self.journal)
        self._queue(Kind.OPEN, 0, 0, 0, self.opening, 0, 0)

    def close(self) -> Path:
        """Close the current segment without syncing and return its path."""
        if self._fd >= 0:
            self.platform.close(self._fd)
            self._fd = -1
        return self.path
