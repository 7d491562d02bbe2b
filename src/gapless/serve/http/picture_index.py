"""When a topic has pictures, and which others each of them needs: some 40 bytes a picture, without their bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.errors import UsageError
from gapless.store.media.remux import TICKS_PER_S
from gapless.store.media.rows import TAG

if TYPE_CHECKING:
    from gapless.store.bundle_state import Folder
    from gapless.store.reader import TopicReader

_PLAIN: Final = ("Image", "CompressedImage")
_NS: Final = 1_000_000_000
_MOST_PICTURES: Final = 1_000_000  # in all indexes that are kept; each takes some 80 bytes in the end
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PictureIndex:
    """The pictures of a topic in time order; number k is element k of every array.

    ``streams`` are the encoders, the sequence's own first; ``stream`` says whose a picture is and ``packet`` its
    number there. ``encoding`` and ``pixels`` are those of the first picture, None where the row type has none.
    """

    times_ns: Ints
    stream: Ints
    packet: Ints
    keyframe: Bools
    width: Ints
    height: Ints
    streams: tuple[str, ...]
    encoding: str | None
    pixels: str | None

    def __len__(self) -> int:
        return len(self.times_ns)

    @cached_property
    def encoded(self) -> Ints:
        """The numbers of the pictures in the order in which they were encoded, stream by stream."""
        order: Ints = np.lexsort((self.packet, self.stream))
        return order

    @cached_property
    def place(self) -> Ints:
        """Where in :attr:`encoded` each picture stands."""
        places = np.empty(len(self), np.int64)
        places[self.encoded] = np.arange(len(self))
        return places

    @cached_property
    def _keyframe_place(self) -> Ints:
        """For each place in :attr:`encoded` that of the keyframe it builds upon, -1 without one."""
        at = np.arange(len(self))
        found = np.maximum.accumulate(np.where(self.keyframe[self.encoded], at, -1))
        stream = self.stream[self.encoded]
        missing = (found < 0) | (stream[np.maximum(found, 0)] != stream)
        return np.where(missing, -1, found)

    @cached_property
    def decodable(self) -> Bools:
        """Whether each picture has every other one since its keyframe."""
        packet, keyframe = self.packet[self.encoded], self._keyframe_place
        since = np.maximum(keyframe, 0)
        whole = (keyframe >= 0) & (packet - packet[since] == np.arange(len(self)) - since)
        return np.asarray(whole[self.place])

    def group(self, number: int) -> Ints:
        """Return the pictures that are decoded with a picture, in order: from its keyframe to the next one."""
        keyframe = int(self._keyframe_place[self.place[number]])
        members: Ints = self.encoded[self._keyframe_place == keyframe]
        return members

    @cached_property
    def shown_s(self) -> npt.NDArray[np.float64]:
        """At which second of its video file each picture is shown, NaN for those that the file leaves out.

        The file has a clock of 90,000 ticks a second and each picture at least one tick after the one before.
        """
        seconds = np.full(len(self), np.nan)
        written = self.encoded[self.decodable[self.encoded]]
        if len(written):
            whole, rest = np.divmod(self.times_ns[written] - self.times_ns[written[0]], _NS)
            ticks = whole * TICKS_PER_S + (rest * TICKS_PER_S + _NS // 2) // _NS
            rising = np.arange(len(ticks))
            seconds[written] = (np.maximum.accumulate(ticks - rising) + rising) / TICKS_PER_S
        return seconds


def is_shown(reader: TopicReader) -> bool:
    """Tell whether the rows of a topic are pictures."""
    return reader.ontology.get("tag") in (TAG, *_PLAIN)


def index_of(reader: TopicReader) -> PictureIndex:
    """Return the index of a topic of pictures, kept for the next question; UsageError for any other topic."""
    if not is_shown(reader):
        raise UsageError(
            "the topic holds no pictures", sequence=reader.bundle.name, topic=reader.name,
            found=reader.ontology.get("tag") or "a plain table", expected=", ".join((TAG, *_PLAIN)),
            next_step="…/data has its rows",
        )  # fmt: skip
    key = _identity(reader)
    found = _INDEXES.get(key)
    if found is None or len(found) != reader.rows:  # an open sequence has more by now
        found = _read(reader)
        _INDEXES.put(key, found)
    return found


def _identity(reader: TopicReader) -> tuple[object, ...]:
    """Return what is another where a topic may have other pictures; more of them do not change it."""
    return (*(_recording(folder) for folder in reader.bundle.folders), reader.name)


def _recording(folder: Folder) -> tuple[object, ...]:
    record = folder.manifest["record"] if folder.manifest else folder.description
    return str(folder.path), record.get("uid"), folder.manifest is not None


def _read(reader: TopicReader) -> PictureIndex:
    """Scan all columns but the bytes; those that a row type lacks are as if every picture stood alone."""
    wanted = ("stream", "packet", "keyframe", "width", "height", "encoding", "format", "pixels")
    columns = [name for name in wanted if name in reader.schema.names]
    table = pa.Table.from_batches(
        reader.scan(columns), pa.schema([reader.schema.field(n) for n in ("timestamp_ns", *columns)])
    )
    rows = table.num_rows
    codes, streams = _coded(table, rows)

    def ints(name: str) -> Ints:
        if name not in columns:
            return np.zeros(rows, np.int64)
        return np.asarray(table[name].fill_null(0).to_numpy(), np.int64)

    def first(*names: str) -> str | None:
        name = next((name for name in names if name in columns), None)
        return table[name][0].as_py() if name is not None and rows else None

    alone = "packet" not in columns
    return PictureIndex(
        table["timestamp_ns"].to_numpy(),
        codes,
        np.arange(rows) if alone else ints("packet"),
        np.ones(rows, np.bool_) if alone else np.asarray(table["keyframe"].to_numpy(), np.bool_),
        ints("width"),
        ints("height"),
        streams,
        first("format") if alone else first("encoding"),
        first("encoding") if alone else first("pixels"),
    )


def _coded(table: pa.Table, rows: int) -> tuple[Ints, tuple[str, ...]]:
    """Return each picture's encoder as a number, in the order in which they first appear."""
    if "stream" not in table.column_names or not rows:
        return np.zeros(rows, np.int64), ("",)
    coded = table["stream"].combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), tuple(coded.dictionary.to_pylist())


class _Indexes:
    """The indexes that were asked for last, bounded by their pictures; any thread may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], PictureIndex] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> PictureIndex | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[object, ...], index: PictureIndex) -> None:
        with self._lock:
            self._kept[key] = index
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self._most:
                self._kept.popitem(last=False)


_INDEXES: Final = _Indexes(_MOST_PICTURES)
