"""Where frames of rows lie, some 40 bytes each: a recording of many small frames must not fill the memory.

Producers that want every row in the file at once make a frame of each, hundreds of thousands in a segment.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gapless.store.frame import Frame

# file, kind, flags, offset, length, first_seq, rows, value_bytes, payload crc
_ENTRY = struct.Struct("<IBHQIqIQI")
_FIELDS = ("file", "kind", "flags", "offset", "length", "first_seq", "rows", "value_bytes", "payload_crc")
_FORMATS = ("<u4", "u1", "<u2", "<u8", "<u4", "<i8", "<u4", "<u8", "<u4")
_DTYPE = np.dtype({"names": _FIELDS, "formats": _FORMATS})
assert _DTYPE.itemsize == _ENTRY.size


@dataclass(slots=True)
class FrameRef:
    """Where a frame of rows lies, and which arrival numbers it covers."""

    path: Path
    offset: int
    length: int
    kind: int
    first_seq: int
    rows: int
    value_bytes: int
    flags: int
    payload_crc: int

    @classmethod
    def of(cls, path: Path, frame: Frame) -> FrameRef:
        """Return the reference to a scanned frame."""
        header = frame.header
        return cls(
            path,
            frame.payload_offset,
            header.length,
            header.kind,
            header.first_seq,
            header.rows,
            header.value_bytes,
            header.flags,
            header.payload_crc,
        )

    @property
    def end_seq(self) -> int:
        """The arrival number behind the frame's last row."""
        return self.first_seq + self.rows


class FrameIndex:
    """References to frames of one topic, in the order they were appended; each is made when it is asked for."""

    def __init__(self, frames: Iterable[FrameRef] = ()) -> None:
        self._entries = bytearray()
        self._files: list[Path] = []
        self._numbers: dict[Path, int] = {}
        for frame in frames:
            self.append(frame)

    def append(self, frame: FrameRef) -> None:
        """Take a reference as the last one."""
        number = self._numbers.get(frame.path)
        if number is None:
            number = self._numbers[frame.path] = len(self._files)
            self._files.append(frame.path)
        self._entries += _ENTRY.pack(
            number,
            frame.kind,
            frame.flags,
            frame.offset,
            frame.length,
            frame.first_seq,
            frame.rows,
            frame.value_bytes,
            frame.payload_crc,
        )

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY.size

    def __iter__(self) -> Iterator[FrameRef]:
        return self._at(range(len(self)))

    def in_order(self) -> Iterator[FrameRef]:
        """Yield the references by first arrival number; equal ones as they were appended."""
        return self._at(np.argsort(self._view()["first_seq"], kind="stable"))

    def behind(self, seq: int) -> Iterator[FrameRef]:
        """Yield the references to frames that hold rows from the arrival number on."""
        return self._at(np.flatnonzero(self._ends() > seq))

    def inside(self, files: Collection[Path]) -> Iterator[FrameRef]:
        """Yield the references to frames that lie in the files."""
        return self._at(np.flatnonzero(self._lies_in(files)))

    def sizes(self) -> dict[Path, tuple[int, int]]:
        """Return how many frames lie in each file, and their bytes."""
        view = self._view()
        frames = np.bincount(view["file"], minlength=len(self._files))
        sizes = np.bincount(view["file"], weights=view["length"], minlength=len(self._files))
        return {path: (int(frames[n]), int(sizes[n])) for n, path in enumerate(self._files) if frames[n]}

    def drop_until(self, seq: int) -> None:
        """Forget the leading frames whose rows all lie before the arrival number."""
        needed = np.flatnonzero(self._ends() > seq)
        self._keep(np.arange(needed[0] if len(needed) else len(self), len(self)))

    def replace(self, files: Collection[Path], frames: Iterable[FrameRef]) -> None:
        """Put other frames in the place of those that lie in the files, by first arrival number."""
        self._keep(np.flatnonzero(~self._lies_in(files)))
        for frame in frames:
            self.append(frame)
        self._keep(np.argsort(self._view()["first_seq"], kind="stable"))

    def _at(self, places: Iterable[Any]) -> Iterator[FrameRef]:
        for place in places:
            number, kind, flags, offset, length, first, rows, value_bytes, crc = _ENTRY.unpack_from(
                self._entries, int(place) * _ENTRY.size
            )
            yield FrameRef(self._files[number], offset, length, kind, first, rows, value_bytes, flags, crc)

    def _view(self) -> np.ndarray[Any, Any]:
        """Return the entries as an array; nothing can be appended while it is held."""
        return np.frombuffer(self._entries, _DTYPE)

    def _ends(self) -> np.ndarray[Any, Any]:
        view = self._view()
        ends: np.ndarray[Any, Any] = view["first_seq"] + view["rows"]
        return ends

    def _lies_in(self, files: Collection[Path]) -> np.ndarray[Any, Any]:
        return np.isin(self._view()["file"], [self._numbers[path] for path in files if path in self._numbers])

    def _keep(self, places: np.ndarray[Any, Any]) -> None:
        """Keep only these entries, in this order, and only the files that they lie in."""
        kept = self._view()[places]
        used, kept["file"] = np.unique(kept["file"], return_inverse=True)
        self._files = [self._files[number] for number in used]
        self._numbers = {path: number for number, path in enumerate(self._files)}
        self._entries = bytearray(kept.tobytes())
