"""The journal's unit: a 64-byte header and a payload, each with its own CRC-32C.

A frame is found again after damage by its magic, the sequence's nonce and the header's CRC, so that
frames behind a broken one survive. ``docs/format.md`` gives the layout byte by byte.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

MAGIC = b"GLF\x01"
VERSION = 1
HEADER_BYTES = 64
_READ_BYTES = 8 << 20  # each read gives the interpreter's lock away: few large ones
_HELD_BYTES = 1 << 20
MAX_PAYLOAD_BYTES = 1 << 30  # a length above this is damage, not data
# magic, version, kind, flags, nonce, segment, topic, first_seq, rows, reserved, length, value_bytes, payload crc
_BODY = struct.Struct("<4sBBHQIIqIIQQI")
_CRC = struct.Struct("<I")
assert _BODY.size + _CRC.size == HEADER_BYTES


def checksum(payload: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32C of a payload.

    Up to 1 MiB (40 µs) the interpreter's lock is kept: to get it back behind a busy producer takes longer.
    """
    return crc32c(payload, 0, 0 if len(payload) <= _HELD_BYTES else -1)


class Kind(IntEnum):
    """What a frame's payload is."""

    OPEN = 1  # canonical JSON: the sequence's header; first in every segment
    TOPIC = 2  # canonical JSON: a topic's declaration
    PACKED = 3  # rows packed by the topic's layout
    ARROW = 4  # rows as one Arrow IPC record batch message
    DROP = 5  # JSON: rows dropped by policy
    CLOSE = 6  # canonical JSON: outcome and what each topic was offered
    GAP = 7  # canonical JSON: a gap declared by the producer
    ARTIFACT = 8  # canonical JSON: a file added to the sequence


class Header(NamedTuple):
    """The fields of a frame's header."""

    kind: int
    flags: int
    nonce: int
    segment: int
    topic: int
    first_seq: int
    rows: int
    length: int
    value_bytes: int
    payload_crc: int


def encode_header(
    kind: Kind,
    nonce: int,
    segment: int,
    topic: int,
    first_seq: int,
    rows: int,
    payload: bytes | bytearray | memoryview,
    value_bytes: int,
    flags: int = 0,
) -> bytes:
    """Return the 64 header bytes that go before ``payload``."""
    body = _BODY.pack(
        MAGIC,
        VERSION,
        kind,
        flags,
        nonce,
        segment,
        topic,
        first_seq,
        rows,
        0,
        len(payload),
        value_bytes,
        checksum(payload),
    )
    return body + _CRC.pack(crc32c(body))


def decode_header(raw: bytes | memoryview, nonce: int | None) -> Header | None:
    """Return the header, or None where the 64 bytes are not a header of this sequence.

    ``nonce`` None accepts any sequence's frames (the first frame of an unknown journal).
    """
    if len(raw) < HEADER_BYTES or raw[:4] != MAGIC:
        return None
    if _CRC.unpack_from(raw, _BODY.size)[0] != crc32c(raw[: _BODY.size]):
        return None
    _, version, kind, flags, found, segment, topic, first, rows, _, length, size, crc = _BODY.unpack_from(raw)
    if version != VERSION or (nonce is not None and found != nonce) or length > MAX_PAYLOAD_BYTES:
        return None
    return Header(kind, flags, found, segment, topic, first, rows, length, size, crc)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a whole frame lies: its header and the offset of its payload in the file."""

    header: Header
    payload_offset: int

    @property
    def end(self) -> int:
        """Offset of the byte behind the frame."""
        return self.payload_offset + self.header.length


@dataclass(frozen=True, slots=True)
class Damage:
    """A span of bytes of a segment that is no whole frame."""

    start: int
    end: int
    reason: str
    header: Header | None = None  # when the header is good and only the payload is not


def scan(path: Path, nonce: int | None, start: int = 0, stop: int | None = None) -> Iterator[Frame | Damage]:
    """Yield every whole frame of a segment in order, and a Damage for each span between them.

    Bytes up to ``stop`` are looked at (default: the file's end). Memory use does not grow with the file.
    """
    size = path.stat().st_size
    stop = size if stop is None else min(stop, size)
    if stop <= start:
        return
    with path.open("rb", buffering=0) as file:
        window = _Window(file, stop)
        offset = start
        while offset < stop:
            item = _read_frame(window, offset, stop, nonce)
            if isinstance(item, Frame):
                nonce = item.header.nonce if nonce is None else nonce
                yield item
                offset = item.end
                continue
            resume = _resync(file, item.start, item.end, stop, nonce)
            yield Damage(offset, resume, item.reason, item.header)
            offset = resume


class _Window:
    """A file's bytes up to ``stop``, read in large steps into memory that the system gets back in the end."""

    def __init__(self, file: FileIO, stop: int) -> None:
        self._file = file
        self._stop = stop
        self._memory = memoryview(b"")
        self._start = self._end = 0

    def read(self, offset: int, size_bytes: int) -> memoryview:
        """Return the bytes, fewer where the file ends or ``stop`` is; they are others after the next call."""
        end = min(offset + size_bytes, self._stop)
        if offset < self._start or end > self._end:
            self._fill(offset, max(end, min(offset + _READ_BYTES, self._stop)) - offset)
        return self._memory[offset - self._start : max(0, min(end, self._end) - self._start)]

    def _fill(self, offset: int, size_bytes: int) -> None:
        if size_bytes > len(self._memory):
            self._memory = memoryview(mmap.mmap(-1, size_bytes))
        self._file.seek(offset)
        self._start = self._end = offset
        left = self._memory[: max(0, size_bytes)]
        while left and (more := self._file.readinto(left)):
            self._end += more
            left = left[more:]


def _read_frame(window: _Window, offset: int, stop: int, nonce: int | None) -> Frame | Damage:
    header = decode_header(window.read(offset, HEADER_BYTES), nonce)
    if header is None:
        reason = "torn header" if stop - offset < HEADER_BYTES else "bad header"
        return Damage(offset, offset + 1, reason)
    begin, end = offset + HEADER_BYTES, offset + HEADER_BYTES + header.length
    if end > stop:
        return Damage(offset, offset + HEADER_BYTES, "torn payload", header)
    if checksum(window.read(begin, header.length)) != header.payload_crc:
        return Damage(offset, end, "bad payload", header)
    return Frame(header, begin)


def _resync(file: FileIO, start: int, known_end: int, stop: int, nonce: int | None) -> int:
    """Return the offset of the next header behind damage, or ``stop``.

    With a good header the payload's end is known; a header there is the next frame. Otherwise every
    occurrence of the magic is tried, so a frame image inside a payload is met only when the payload's
    own header is lost; the nonce and header CRC then still have to match.
    """
    with mmap.mmap(file.fileno(), stop, access=mmap.ACCESS_READ) as view:  # only damage maps a whole segment
        after = view[known_end : known_end + HEADER_BYTES]
        if known_end > start + HEADER_BYTES and (
            known_end == stop or decode_header(after, nonce) is not None
        ):
            return known_end
        at = start + 1
        while True:
            at = view.find(MAGIC, at, stop)
            if at < 0:
                return stop
            if decode_header(view[at : at + HEADER_BYTES], nonce) is not None:
                return at
            at += 1


def read_payload(path: Path, frame: Frame) -> bytes:
    """Return a frame's payload; raises OSError when the file changed underneath."""
    with path.open("rb") as file:
        file.seek(frame.payload_offset)
        return file.read(frame.header.length)
