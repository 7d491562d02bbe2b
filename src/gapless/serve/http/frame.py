"""The binary frame: a JSON header and little-endian arrays that a page uses without parsing numbers.

Layout: ``GLF1``, the length of the header as uint32, the header padded with spaces to a multiple of 8 with the
8 bytes before it, then the arrays, each beginning at a multiple of 8. Times are float64 offsets in ns from
``base_ns``, exact within 104 days of it; ``base_ns`` is text, as JSON numbers end at 2**53.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"GLF1"
MEDIA_TYPE = "application/vnd.gapless.frame"
_ALIGNED_BYTES = 8
_TYPES = {"<f8": "f64", "<i8": "i64", "<u8": "u64", "<i4": "i32", "<u4": "u32", "|u1": "u8"}


class Frame:
    """Columns on their way to a page; ``header`` takes any further JSON."""

    def __init__(self, base_ns: int, **header: Any) -> None:
        self.base_ns = base_ns
        self.header = header
        self._columns: list[dict[str, Any]] = []
        self._arrays: list[bytes] = []
        self._size_bytes = 0

    def add(self, name: str, values: npt.NDArray[Any], **words: Any) -> None:
        """Add a column of float64, int64, uint64, int32, uint32 or uint8; ``words`` go into its description."""
        array = np.ascontiguousarray(values)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        described = {"name": name, "type": _TYPES[array.dtype.str], "offset": self._size_bytes}
        self._columns.append(described | {"length": len(array)} | words)
        data = array.tobytes()
        data += bytes(-len(data) % _ALIGNED_BYTES)
        self._arrays.append(data)
        self._size_bytes += len(data)

    def add_times(self, name: str, times_ns: npt.NDArray[np.int64]) -> None:
        """Add times as offsets from ``base_ns``, exact where they are less than 2**53 ns from it."""
        self.add(name, offsets(times_ns, self.base_ns), unit="ns")

    def to_bytes(self) -> bytes:
        """Return the frame."""
        header = {"base_ns": str(self.base_ns), **self.header, "columns": self._columns}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        text += b" " * (-(len(text) + _ALIGNED_BYTES) % _ALIGNED_BYTES)
        return b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *self._arrays])


def offsets(times_ns: npt.NDArray[np.int64], base_ns: int) -> npt.NDArray[np.float64]:
    """Return times as float64 nanoseconds since ``base_ns``.

    The difference is taken in whole numbers, over all of int64: only what is left is rounded.
    """
    base = np.int64(base_ns)
    after = times_ns >= base
    unsigned, start = times_ns.view(np.uint64), base.view(np.uint64)
    distance = np.where(after, unsigned - start, start - unsigned).astype(np.float64)
    return np.where(after, distance, -distance)
