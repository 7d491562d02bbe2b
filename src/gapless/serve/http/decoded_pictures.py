"""Pixels of encoded pictures, decoded from the keyframe before; those around one are kept for the next request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt
import pyarrow.compute as pc

from gapless.errors import NotFound
from gapless.store.media.decode import Decoder

if TYPE_CHECKING:
    from gapless.serve.http.picture_index import PictureIndex
    from gapless.store.reader import TopicReader

Pixels = npt.NDArray[Any]
Key = tuple[object, ...]
_MOST_BYTES: Final = 64 << 20
_COLUMNS: Final = ["data", "encoding", "width", "height", "pixels", "stream", "packet"]
_BATCH_ROWS: Final = 64
_LAST_NS: Final = 2**63 - 1


def decoded(reader: TopicReader, index: PictureIndex, number: int) -> tuple[Pixels, str]:
    """Return the pixels of an encoded picture as it was pushed, ``[h, w]`` or RGB ``[h, w, 3]``, and their name.

    Raises NotFound where pictures that it builds upon were lost, IntegrityError for damaged bytes.
    """
    if not index.decodable[number]:
        raise NotFound(
            "the picture cannot be shown: pictures that it builds upon are missing",
            sequence=reader.bundle.name, topic=reader.name, found=f"picture {number}",
            next_step="topic `_gaps` tells what was lost; ask for a later picture",
        )  # fmt: skip
    found = _DECODED.get(_key(reader, index, number))
    return found if found is not None else _decode(reader, index, number)


def bytes_of(reader: TopicReader, index: PictureIndex, numbers: list[int]) -> dict[int, dict[str, Any]]:
    """Return the rows of pictures of one stream, by number: ``data``, ``encoding``, ``width`` and so on."""
    times = index.times_ns[numbers]
    wanted = {int(index.packet[number]): number for number in numbers}
    stream = index.streams[int(index.stream[numbers[0]])]
    last = int(times.max())
    found = {}
    for batch in reader.scan(
        _COLUMNS, int(times.min()), None if last == _LAST_NS else last + 1,
        filter=pc.field("stream") == stream, batch_rows=_BATCH_ROWS,
    ):  # fmt: skip
        for row in batch.select(_COLUMNS).to_pylist():
            if row["packet"] in wanted:
                found[wanted[row["packet"]]] = row
    return found


def _decode(reader: TopicReader, index: PictureIndex, number: int) -> tuple[Pixels, str]:
    """Decode the picture and, where all fit in what is kept, the others up to the next keyframe."""
    group = [int(other) for other in index.group(number) if index.decodable[other]]
    group_bytes = int(index.width[number]) * int(index.height[number]) * 3 * len(group)
    if group_bytes > _MOST_BYTES:
        group = group[: group.index(number) + 1]
    rows = bytes_of(reader, index, group)
    first = rows[group[0]]
    decoder = Decoder(first["encoding"], first["width"], first["height"])
    answer: tuple[Pixels, str] | None = None
    for other in group:
        row = rows[other]
        made = decoder.decode(row["data"], row["pixels"]), row["pixels"]
        _DECODED.put(_key(reader, index, other), made)
        answer = made if other == number else answer
    assert answer is not None
    return answer


def _key(reader: TopicReader, index: PictureIndex, number: int) -> Key:
    """Return what no other picture has: numbers in time move as late ones come, those of an encoder do not."""
    base = reader.bundle.base
    record = base.manifest["record"] if base.manifest else base.description
    stream = index.streams[int(index.stream[number])]
    return str(base.path), record.get("uid"), reader.name, stream, int(index.packet[number])


class _Decoded:
    """The pictures that were decoded last, bounded by their bytes; any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, tuple[Pixels, str]] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: Key) -> tuple[Pixels, str] | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, made: tuple[Pixels, str]) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = made
            self.size_bytes += made[0].nbytes - (before[0].nbytes if before else 0)
            while self.size_bytes > self._most_bytes:
                self.size_bytes -= self._kept.popitem(last=False)[1][0].nbytes


_DECODED: Final = _Decoded(_MOST_BYTES)
