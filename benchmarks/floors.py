"""The least that recording rows durably can cost in Python: packed rows, a thread, one sync for many.

No ledger, no owner check, no statistics, no bound, no policies: what our writer costs beyond this is the
price of its promises.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from crc32c import crc32c

_BLOCK_BYTES = 256 << 10
_SYNC_BYTES = 1 << 20
_SYNC_S = 0.25
_HEADER = struct.Struct("<4sBBHQIIqIIQQI")


class PackedJournal:
    """Rows of fixed width through a closure into blocks; a thread frames, writes and syncs them in groups."""

    def __init__(self, path: Path, floats: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._row_bytes = 8 + 8 * floats
        self.push_row, self._flush = _closure(struct.Struct(f"<q{floats}d"), self._queue)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Return when every row is durable."""
        done = threading.Event()
        self._flush()
        self._queue.put(done)
        done.wait()

    def close(self) -> None:
        """End the thread and close the file."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        seq = unsynced = 0
        due = time.monotonic() + _SYNC_S
        while True:
            waiting: list[bytes | memoryview] = []
            asked: list[threading.Event] = []
            ended = False
            timeout = max(0.0, due - time.monotonic())
            while unsynced < 8 * _SYNC_BYTES:
                try:
                    item = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
                except Empty:
                    break
                timeout = 0.0
                if item is None:
                    ended = True
                elif isinstance(item, threading.Event):
                    asked.append(item)
                else:
                    rows = len(item) // self._row_bytes
                    waiting += (self._header(seq, rows, item), item)
                    seq += rows
                    unsynced += len(item)
            if waiting:
                os.writev(self._fd, waiting)
            if unsynced >= _SYNC_BYTES or time.monotonic() >= due or asked:
                os.fdatasync(self._fd)
                unsynced, due = 0, time.monotonic() + _SYNC_S
            for event in asked:
                event.set()
            if ended:
                return

    @staticmethod
    def _header(seq: int, rows: int, payload: memoryview) -> bytes:
        body = _HEADER.pack(
            b"FLOR", 1, 3, 0, 1, 1, 1, seq, rows, 0, len(payload), len(payload), crc32c(payload)
        )
        return body + crc32c(body).to_bytes(4, "little")


def _closure(row: struct.Struct, queue: SimpleQueue[Any]) -> tuple[Callable[..., None], Callable[[], None]]:
    size = row.size
    capacity = _BLOCK_BYTES // size * size
    buffer, offset, pack_into = bytearray(capacity), 0, row.pack_into

    def push_row(t: int, a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float, i: float) -> None:  # fmt: skip # noqa: E501
        nonlocal buffer, offset
        pack_into(buffer, offset, t, a, b, c, d, e, f, g, h, i)
        offset += size
        if offset == capacity:
            queue.put(memoryview(buffer))
            buffer, offset = bytearray(capacity), 0

    def flush() -> None:
        nonlocal buffer, offset
        if offset:
            queue.put(memoryview(buffer)[:offset])
            buffer, offset = bytearray(capacity), 0

    return push_row, flush
