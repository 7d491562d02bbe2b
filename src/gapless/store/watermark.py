"""The watermark: 64 bytes, mapped into memory, that tell readers in other processes what is durable."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

from gapless.store.platform import Platform

SIZE_BYTES = 64
_BODY = struct.Struct("<8sQIIQQQ")  # magic, turn, segment, reserved, offset, parts generation, boot_ns
_CRC = struct.Struct("<I")
_MAGIC = b"GLWM\x01\0\0\0"


class Watermark(NamedTuple):
    """Everything before ``offset`` of ``segment``, and all earlier segments, is durable."""

    turn: int
    segment: int
    offset: int
    parts_generation: int
    boot_ns: int


class WatermarkFile:
    """The writer's side; only the writer thread calls :meth:`publish`."""

    def __init__(self, path: Path, platform: Platform) -> None:
        fd = platform.open_update(path)
        try:
            platform.reserve(fd, SIZE_BYTES)
            self._map = mmap.mmap(fd, SIZE_BYTES)
        finally:
            platform.close(fd)
        self._turn = 0

    def publish(self, segment: int, offset: int, parts_generation: int, boot_ns: int) -> None:
        """Make a new durable position visible; a reader that meets half of it sees a bad CRC and retries."""
        self._turn += 1
        body = _BODY.pack(_MAGIC, self._turn, segment, 0, offset, parts_generation, boot_ns)
        self._map[: len(body) + 4] = body + _CRC.pack(crc32c(body))

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()


def read_watermark(path: Path, patience_s: float = 0.2) -> Watermark | None:
    """Return the last published watermark, or None where none can be read within the patience."""
    give_up = time.monotonic() + patience_s
    while True:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(raw) >= _BODY.size + 4 and _CRC.unpack_from(raw, _BODY.size)[0] == crc32c(raw[: _BODY.size]):
            magic, turn, segment, _, offset, generation, boot_ns = _BODY.unpack_from(raw)
            if magic == _MAGIC:
                return Watermark(turn, segment, offset, generation, boot_ns)
        if raw.strip(b"\0") == b"" or time.monotonic() > give_up:
            return None
        time.sleep(0.001)
