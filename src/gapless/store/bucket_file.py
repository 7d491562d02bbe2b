"""The pyramid's buckets of one part, kept in the journal until the seal joins those of all parts.

An Arrow file and behind it a CRC-32C of all its bytes. It can be made again from the part, so that nobody syncs it,
and one whose CRC does not match, or that has none, is not used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from crc32c import crc32c

_TRAILER = struct.Struct("<4sI")
_MAGIC = b"GLPB"
_CHUNK_BYTES = 1 << 20


class BucketWriter:
    """Writes the buckets of a part, row group by row group.

    Buckets kept in memory would grow with the part, and each would hold a page of Arrow's allocator, 4 MiB, that the
    columns beside it have left.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, schema)

    def add(self, buckets: list[pa.RecordBatch]) -> None:
        """Append the buckets of one row group."""
        for batch in buckets:
            self._writer.write_batch(batch)

    def close(self) -> None:
        """End the file: without its last words nobody takes it for whole. Closing twice changes nothing."""
        if self._sink.closed:
            return
        self._writer.close()
        self._sink.close()
        crc = _crc(self._path, self._path.stat().st_size)
        with self._path.open("ab") as file:
            file.write(_TRAILER.pack(_MAGIC, crc))


def is_whole(path: Path) -> bool:
    """Tell whether the file's bytes are those that were written. FileNotFoundError where there is none."""
    end = path.stat().st_size - _TRAILER.size
    if end < 0:
        return False
    with path.open("rb") as file:
        file.seek(end)
        magic, crc = _TRAILER.unpack(file.read(_TRAILER.size))
    return bool(magic == _MAGIC and crc == _crc(path, end))


@contextmanager
def open_buckets(path: Path) -> Iterator[pa.RecordBatchFileReader]:
    """Open a file that is whole."""
    with pa.OSFile(str(path), "rb") as source:
        yield pa.ipc.open_file(source, footer_offset=source.size() - _TRAILER.size)


def _crc(path: Path, size: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while left := size - file.tell():
            crc = crc32c(file.read(min(_CHUNK_BYTES, left)), crc)
    return crc
