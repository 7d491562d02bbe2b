"""Following an open sequence, from this or any other process, without taking part in its writing.

Each durable row comes exactly once although rows move from the journal into parts meanwhile. Parts are
cut in order of arrival, so a new part holds exactly the rows that were seen longest ago in the journal
and in no part yet, followed by rows that were never seen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.errors import NotFound
from gapless.store.bundle_state import Folder, open_folder
from gapless.store.declaration import SEQ, TIME
from gapless.store.part_reader import Part
from gapless.store.selection import Selection

_BATCH_ROWS = 65_536
Keys = NDArray[np.int64]  # rows of (timestamp_ns, _seq)


def tail(
    path: Path, topic: str, *, poll_s: float = 0.05, timeout_s: float | None = None, from_start: bool = False
) -> Iterator[pa.RecordBatch]:
    """Return an iterator of the rows of a topic as they become durable; each row comes once.

    It begins with what becomes durable after this call, or with the first row. It ends when the sequence
    is sealed or discarded, when nobody writes it any more, or after ``timeout_s`` without a new row.
    """
    looks = follow(path, topic, poll_s=poll_s, timeout_s=timeout_s, from_start=from_start)
    return (batch for batch in looks if batch is not None)


def follow(
    path: Path, topic: str, *, poll_s: float, timeout_s: float | None, from_start: bool
) -> Iterator[pa.RecordBatch | None]:
    """Do the same as :func:`tail`, with None before each wait for rows, so that the caller can look around."""
    follower = _Follower(path, topic)
    if not from_start:
        follower.skip_present()
    return _poll(follower, poll_s, timeout_s)


def _poll(follower: _Follower, poll_s: float, timeout_s: float | None) -> Iterator[pa.RecordBatch | None]:
    last_row_s = time.monotonic()
    while True:
        # Asked before reading: what a writer made durable before it ended is read below.
        ending = follower.ending()
        for batch in follower.fresh():
            yield batch
            last_row_s = time.monotonic()
        if follower.gone or (ending and not follower.moved):
            return
        if timeout_s is not None and time.monotonic() - last_row_s >= timeout_s:
            return
        if not follower.moved:
            yield None
            time.sleep(poll_s)


class _Follower:
    """What has been seen of one topic, and the way to what has not."""

    def __init__(self, path: Path, topic: str) -> None:
        self._path = path
        self._topic = topic
        self._folder: Folder = open_folder(path)
        self._uid = _uid(self._folder)
        self._done: set[str] = set()  # paths of parts of which every row was seen
        self._seen: list[Keys] = []  # rows seen in the journal that are in none of those parts, as they came
        self._position: Any = None
        if topic not in self._folder.topic_names():
            raise NotFound("there is no such topic", sequence=path.name, topic=topic)
        self._schema: pa.Schema = self._folder.declaration(topic).schema
        self.gone = False  # the sequence is no longer there
        self.moved = False  # the files changed while they were read: look again at once

    def ending(self) -> bool:
        """Tell whether nobody will add rows: sealed, pending, or the owner is gone."""
        return self._folder.manifest is not None or not self._folder.owner_alive

    def skip_present(self) -> None:
        """Take all that is durable now as seen."""
        while True:
            self._done.update(part["path"] for part in self._parts())
            for _ in self._from_journal():
                pass
            if not self.moved or self.gone:
                return
            self._look()

    def fresh(self) -> Iterator[pa.RecordBatch]:
        """Yield the durable rows that were not seen before."""
        self.moved = False
        self._look()
        if self.gone:
            return
        for entry in self._parts():
            if entry["path"] not in self._done:
                yield from self._from_part(Part.of(self._path, entry, self._topic))
                self._done.add(entry["path"])
        yield from self._from_journal()

    def _look(self) -> None:
        """Bring the view up to date; the sequence may have been sealed, discarded or replaced."""
        journal = self._folder.journal
        try:
            if journal is not None and not (self._path / "manifest.json").exists():
                journal.refresh()
                return
            if journal is not None:
                self._folder = open_folder(self._path)
        except (FileNotFoundError, NotFound):
            self._reopen()
        self.gone = self.gone or _uid(self._folder) != self._uid

    def _reopen(self) -> None:
        try:
            self._folder = open_folder(self._path)
            self._position = None
        except (FileNotFoundError, NotFound):
            self.gone = True

    def _parts(self) -> list[dict[str, Any]]:
        folder = self._folder
        if folder.manifest is not None:
            entry = (
                folder.manifest["content"]["topics"].get(self._topic) or folder.manifest["record"]["health"]
            )
            listed: list[dict[str, Any]] = entry["parts"]
            return listed
        assert folder.journal is not None
        return list(folder.journal.parts.get(self._topic, []))

    def _from_part(self, part: Part) -> Iterator[pa.RecordBatch]:
        known, self._seen = _split(self._seen, part.rows)
        seen = Counter(map(tuple, np.concatenate(known).tolist())) if known else Counter()
        if seen.total() == part.rows:
            return
        rows = Selection.of(self._schema, None, None, None, with_seq=True, filter=None, topic=self._topic)
        for batch in part.batches(rows, _BATCH_ROWS):
            fresh = batch
            if seen:
                fresh = batch.filter(
                    pa.array([not _take(seen, key) for key in map(tuple, _keys(batch).tolist())])
                )
            if fresh.num_rows:
                yield self._shown(fresh)

    def _from_journal(self) -> Iterator[pa.RecordBatch]:
        self.moved = False
        journal = self._folder.journal
        if journal is None:
            return
        parts = self._parts()
        try:
            found = list(journal.batches(self._topic, after=self._position))
            journal.refresh()
        except FileNotFoundError:  # a segment became a part, or the sequence was sealed
            self.moved = True
            return
        # Rows that left the journal while it was read are in a new part, and come before those found.
        self.moved = self._parts() != parts
        if self.moved:
            return
        for position, batch in found:
            self._position = position
            self._seen.append(_keys(batch))
            yield self._shown(batch)

    def _shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([batch.column(n) for n in self._schema.names], schema=self._schema)


def _keys(batch: pa.RecordBatch) -> Keys:
    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in (TIME, SEQ)]
    return np.stack(columns, axis=1)


def _split(seen: list[Keys], count: int) -> tuple[list[Keys], list[Keys]]:
    """Return the first ``count`` rows, or as many as there are, and the others."""
    first: list[Keys] = []
    for n, keys in enumerate(seen):
        if count < len(keys):
            return [*first, keys[:count]], [keys[count:], *seen[n + 1 :]]
        first.append(keys)
        count -= len(keys)
    return first, []


def _take(seen: Counter[tuple[int, ...]], key: tuple[int, ...]) -> bool:
    """Tell whether a row was seen, and count it off: a producer may use a number twice."""
    if seen[key] <= 0:
        return False
    seen[key] -= 1
    return True


def _uid(folder: Folder) -> str | None:
    known = folder.manifest["record"] if folder.manifest is not None else folder.description
    uid: str | None = known.get("uid")
    return uid
