"""One topic's way from journal frames to Parquet parts, with cuts that depend only on the rows.

A row group ends with the row that makes it 65,536 rows or 16 MiB of values; a part ends after 16 row
groups or 256 MiB. Frames are kept by reference: only the row group being written is in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.errors import IntegrityError
from gapless.model.ledger import Ledger
from gapless.store.cells import batch_value_bytes
from gapless.store.declaration import SEQ, TIME, TopicDeclaration
from gapless.store.frame import Kind, checksum
from gapless.store.frame_index import FrameIndex, FrameRef
from gapless.store.holes import SeqHoles
from gapless.store.layout import CUTS, Bundle, Cuts
from gapless.store.packing import Layout
from gapless.store.part import PartWriter
from gapless.store.platform import Platform
from gapless.store.scratch import scratch_bytes

_GAP_BYTES = 64 << 10  # other topics' frames in between: reading them costs less than another call
_SMALL_ROWS, _SMALL_BATCHES = 64, 256
_RUN_FRAMES = 256  # with the gaps at most 512 buffers a read, below the limit of every system
Payload = bytes | memoryview
CLOCK_USED, CLOCK_ONLY = 1, 2  # frame flags: the sequence's clock stamped some rows / every row so far


@dataclass(slots=True)
class Gap:
    """Arrival numbers that have no row, and why."""

    first_seq: int
    count: int
    cause: str
    start_ns: int | None = None
    end_ns: int | None = None


@dataclass
class Progress:
    """What completed parts contain: enough to go on after a crash without the frames they came from."""

    consumed: int = 0
    rows: int = 0
    dropped: int = 0
    lost: int = 0
    clock_flags: int = 0
    last_ns: int | None = None  # stamp of the last row that arrived
    gaps: list[Gap] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    holes: SeqHoles = field(default_factory=SeqHoles)

    def to_json(self) -> dict[str, Any]:
        """Return the progress for parts.json."""
        return {
            "consumed": self.consumed,
            "rows": self.rows,
            "dropped": self.dropped,
            "lost": self.lost,
            "clock_flags": self.clock_flags,
            "last_ns": self.last_ns,
            "parts": self.parts,
            "holes": self.holes.to_json(),
            "gaps": [[g.first_seq, g.count, g.cause, g.start_ns, g.end_ns] for g in self.gaps],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Progress:
        """Return the progress that :meth:`to_json` kept."""
        return cls(
            document["consumed"],
            document["rows"],
            document["dropped"],
            document["lost"],
            document["clock_flags"],
            document.get("last_ns"),
            [Gap(*g) for g in document["gaps"]],
            list(document["parts"]),
            SeqHoles.from_json(document["holes"]),
        )


class TopicSealer:
    """Cuts one topic's rows into parts. Frames must be added in order of their first arrival number."""

    def __init__(
        self,
        bundle: Bundle,
        declaration: TopicDeclaration,
        platform: Platform,
        progress: Progress | None = None,
        cuts: Cuts = CUTS,
    ) -> None:
        self.bundle = bundle
        self.cuts = cuts
        self.declaration = declaration
        self.platform = platform
        self.done = progress or Progress()
        self.live = FrameIndex()  # frames whose rows are not all in completed parts
        self.arrived = self.done.consumed  # arrival number behind the last frame added
        self.cut_seq = self.done.consumed  # arrival number of the next row to cut
        self._now = Progress.from_json(self.done.to_json())  # as done, with the part being written
        self.declared = 0  # messages that the producer itself declared lost
        self.late = 0  # rows that another process added behind what the producer offered
        self._part: PartWriter | None = None
        self._layout = Layout.of(declaration)
        self._fixed_bytes = self._layout.value_bytes if self._layout else None
        self._spans: list[tuple[int, int]] = []  # first arrival number and rows of what the row group holds
        self._waiting_rows = 0
        self._waiting_bytes = 0

    # -- frames in -----------------------------------------------------------------------------

    def add(self, frame: FrameRef) -> None:
        """Take a frame of rows; rows seen before (a carried copy) are passed over."""
        if frame.end_seq <= self.arrived:
            return
        if frame.first_seq > self.arrived:
            self.lose(self.arrived, frame.first_seq - self.arrived, "damaged")
        overlap = max(0, self.arrived - frame.first_seq)
        self.live.append(frame)
        self._waiting_rows += frame.rows - overlap
        self._waiting_bytes += frame.value_bytes * (frame.rows - overlap) // frame.rows
        self.arrived = frame.end_seq
        self._flag(frame.flags)

    def _flag(self, flags: int) -> None:
        """Remember whose clock stamped the frame: 1 the producer's, 2 the sequence's, 4 both within a lane."""
        seen = 1 if not flags & CLOCK_USED else 2 if flags & CLOCK_ONLY else 4
        self._now.clock_flags |= seen

    def lose(self, first_seq: int, count: int, cause: str) -> None:
        """Record arrival numbers that have no row."""
        if first_seq + count <= self.arrived:
            return
        self._now.gaps.append(Gap(first_seq, count, cause, self._stamp_before(first_seq)))
        self._now.lost += count
        self.arrived = first_seq + count

    def drop(self, first_seq: int, count: int, cause: str) -> None:
        """Record rows that a policy gave up."""
        if first_seq + count <= self.arrived:
            return
        if first_seq > self.arrived:
            self.lose(self.arrived, first_seq - self.arrived, "damaged")
        self._now.gaps.append(Gap(first_seq, count, cause, self._stamp_before(first_seq)))
        self._now.dropped += count
        self.arrived = first_seq + count

    def _stamp_before(self, first_seq: int) -> int | None:
        """Return the stamp of the row before an arrival number, where that row is cut already."""
        return self._now.last_ns if first_seq == self.cut_seq else None

    # -- row groups out ------------------------------------------------------------------------

    def advance(self) -> bool:
        """Write every row group that is full; return whether a part was completed."""
        completed = False
        while self._waiting_rows >= self.cuts.group_rows or self._waiting_bytes >= self.cuts.group_bytes:
            if not self._write_group():
                break
            completed |= self._end_part_if_full()
        return completed

    def finish(self) -> Progress:
        """Write what is left, complete the last part, and return the final progress."""
        self.advance()
        while self._waiting_rows:
            self._write_group(last=True)
            self._end_part_if_full()
        if self._part is not None or not self._now.parts:
            self._complete(self._part or self._new_part())
        self._now.consumed = self.arrived  # gaps behind the last row are accounted for as well
        self._resolve_rest()
        self.done = self._now
        return self._now

    def abandon(self) -> None:
        """Close and delete the part in progress; its rows are still in the journal."""
        if self._part is not None:
            self._part.abandon()
            self._part = None

    def _new_part(self) -> PartWriter:
        return PartWriter(self.bundle, self.declaration, len(self._now.parts), self.platform)

    def _end_part_if_full(self) -> bool:
        part = self._part
        if part is None or (part.groups < self.cuts.part_groups and part.value_bytes < self.cuts.part_bytes):
            return False
        self._complete(part)
        return True

    def _complete(self, part: PartWriter) -> None:
        self._now.parts.append(part.finish())
        self._now.rows += part.rows
        self._now.consumed = self.cut_seq
        self._part = None
        self.done = Progress.from_json(self._now.to_json())
        # what was noted about later rows is not part of what the completed parts contain
        self.done.gaps = [g for g in self.done.gaps if g.first_seq < self.cut_seq]
        self.done.dropped = sum(g.count for g in self.done.gaps if g.cause not in _LOST)
        self.done.lost = sum(g.count for g in self.done.gaps if g.cause in _LOST)
        self.live.drop_until(self.cut_seq)

    def _write_group(self, last: bool = False) -> bool:
        taken = self._take_group(last)
        if taken is None:
            return False
        table, value_bytes = taken
        self._waiting_rows -= table.num_rows
        self._waiting_bytes = max(0, self._waiting_bytes - value_bytes) if self._waiting_rows else 0
        self._resolve_gaps(table.column(TIME))
        self._now.last_ns = table.column(TIME)[-1].as_py()
        if self.declaration.producer_seq:
            seqs, times = table.column(SEQ).to_numpy(), table.column(TIME).to_numpy()
            self._now.holes.add(seqs, times, self._given_up_before())
        if self._part is None:
            self._part = self._new_part()
        self._part.add(_in_order(table, self.declaration.producer_seq), value_bytes)
        return True

    def _take_group(self, last: bool) -> tuple[pa.Table, int] | None:
        """Return the rows of the next row group in arrival order and their value bytes, None where it is not full."""
        began = self.cut_seq
        rows = size = 0
        pieces = _Pieces(self.declaration.stored_schema)
        self._spans = []
        for first, batch in self._from_cut():
            sizes = self._sizes(batch)
            ends = size + np.cumsum(sizes)
            # the row that reaches the bound is included
            full = int(np.searchsorted(ends, self.cuts.group_bytes))
            count = min(batch.num_rows, self.cuts.group_rows - rows, full + 1)
            pieces.add(batch.slice(0, count))
            self._span(first, count)
            rows += count
            size = int(ends[count - 1])
            self.cut_seq = first + count
            if rows == self.cuts.group_rows or size >= self.cuts.group_bytes:
                return pieces.table(), size
        if last and rows:
            return pieces.table(), size
        self.cut_seq = began  # an estimate of waiting bytes was high: give the rows back
        self._waiting_bytes = size
        return None

    def _span(self, first: int, count: int) -> None:
        """Note which arrival numbers the row group holds; neighbours make one span."""
        if self._spans and sum(self._spans[-1]) == first:
            first, count = self._spans[-1][0], self._spans.pop()[1] + count
        self._spans.append((first, count))

    def _given_up_before(self) -> dict[int, int]:
        """Return how many arrival numbers without a row lie before rows of the row group, by the row's index."""
        first, count = self._spans[0]
        missing = 0
        for gap in reversed(self._now.gaps):  # they are in order; some may lie behind the row group
            if gap.first_seq + gap.count == first - missing:
                missing += gap.count
        found, at = {0: missing}, count
        for (before, rows), (behind, more) in pairwise(self._spans):
            found[at] = behind - before - rows
            at += more
        return found

    def _from_cut(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield what waits to be cut as (first arrival number, batch).

        Packed frames that follow each other are joined first: columns are made once per row group, not
        once per frame.
        """
        joined: list[FrameRef] = []
        rows = 0
        for frame in self.live.behind(self.cut_seq):
            follows = bool(joined) and joined[-1].end_seq == frame.first_seq and rows < self.cuts.group_rows
            if joined and not (follows and frame.kind == Kind.PACKED):
                yield self._joined(joined)
                joined, rows = [], 0
            if frame.kind == Kind.PACKED:
                joined.append(frame)
                rows += frame.rows
                continue
            skip = max(0, self.cut_seq - frame.first_seq)
            yield frame.first_seq + skip, read_frame(frame, self.declaration, self._layout).slice(skip)
        if joined:
            yield self._joined(joined)

    def _joined(self, frames: list[FrameRef]) -> tuple[int, pa.RecordBatch]:
        if self._layout is None:
            raise IntegrityError("packed rows in a topic that cannot be packed", topic=self.declaration.name)
        first = max(self.cut_seq, frames[0].first_seq)
        skipped_bytes = (first - frames[0].first_seq) * self._layout.row_bytes
        payload = read_joined(frames)
        return first, self._layout.columns(payload[skipped_bytes:], first)

    def _sizes(self, batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
        if self._fixed_bytes is not None:
            return np.full(batch.num_rows, self._fixed_bytes, np.int64)
        return batch_value_bytes(batch)

    # -- the time span of gaps -----------------------------------------------------------------

    def _resolve_gaps(self, times: pa.ChunkedArray) -> None:
        """Give gaps the stamps of the rows that arrived before and behind them."""
        waiting = [g for g in self._now.gaps if g.end_ns is None]
        if not waiting:
            return
        at = 0
        for first, count in self._spans:
            for gap in waiting:
                before, behind = gap.first_seq - 1, gap.first_seq + gap.count
                if first <= before < first + count:
                    gap.start_ns = times[at + before - first].as_py()
                if first <= behind < first + count:
                    gap.end_ns = times[at + behind - first].as_py()
            at += count

    def _resolve_rest(self) -> None:
        """Chain gaps that touch, so that each knows the rows around it as far as there are any."""
        gaps = sorted(self._now.gaps, key=lambda g: g.first_seq)
        for before, behind in pairwise(gaps):
            if before.first_seq + before.count == behind.first_seq:
                behind.start_ns = behind.start_ns if behind.start_ns is not None else before.start_ns
        for before, behind in zip(reversed(gaps[:-1]), reversed(gaps[1:]), strict=False):
            if before.first_seq + before.count == behind.first_seq:
                before.end_ns = before.end_ns if before.end_ns is not None else behind.end_ns

    # -- the result ----------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        """Return the topic's ledger as counted from the rows themselves."""
        now = self._now
        missing = now.holes.missing + self.declared
        produced = now.rows + now.dropped + now.lost + missing
        return Ledger(produced, now.rows, now.dropped, now.lost + missing)

    @property
    def given_up(self) -> tuple[int, int]:
        """How many arrival numbers have no row: dropped by a policy, and lost to damage."""
        return self._now.dropped, self._now.lost

    @property
    def clock(self) -> str:
        """Whose clock stamped the rows."""
        flags = self._now.clock_flags
        return "producer" if flags in (0, 1) else "gapless" if flags == 2 else "mixed"

    def gap_rows(self) -> list[dict[str, Any]]:
        """Return the topic's rows of ``_gaps``."""
        rows = [
            {
                "timestamp_ns": g.start_ns or 0,
                "topic": self.declaration.name,
                "first_seq": g.first_seq,
                "count": g.count,
                "end_ns": g.end_ns,
                "cause": g.cause,
            }
            for g in self._now.gaps
        ]
        rows += [
            {
                "timestamp_ns": h.start_ns,
                "topic": self.declaration.name,
                "first_seq": h.first,
                "count": h.missing,
                "end_ns": h.end_ns,
                "cause": "producer_seq",
            }
            for h in self._now.holes.holes
            if h.missing
        ]
        return rows


_LOST = frozenset({"damaged"})


class _Pieces:
    """Batches that will be one table. Small ones are joined as they come: a batch of one row holds kilobytes."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._batches: list[pa.RecordBatch] = []
        self._small = 0  # of the last batches, how many may still be joined

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        self._batches.append(batch)
        self._small = self._small + 1 if batch.num_rows < _SMALL_ROWS else 0
        if self._small == _SMALL_BATCHES:
            small = pa.Table.from_batches(self._batches[-self._small :], self._schema)
            self._batches[-self._small :] = small.combine_chunks().to_batches()
            self._small = 0

    def table(self) -> pa.Table:
        """Return all rows, in order, each column in one piece."""
        return pa.Table.from_batches(self._batches, self._schema).combine_chunks()


def read_frame(frame: FrameRef, declaration: TopicDeclaration, layout: Layout | None) -> pa.RecordBatch:
    """Return a frame's rows as one batch of the stored schema, or raise IntegrityError."""
    return _decoded(frame, read_bytes(frame), declaration, layout)


def decode_frames(
    frames: Iterable[FrameRef], payload: Payload, declaration: TopicDeclaration, layout: Layout | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of frames whose payloads lie behind each other in ``payload``."""
    view, at = memoryview(payload), 0
    for frame in frames:
        yield _decoded(frame, view[at : at + frame.length], declaration, layout)
        at += frame.length


def _decoded(
    frame: FrameRef, payload: Payload, declaration: TopicDeclaration, layout: Layout | None
) -> pa.RecordBatch:
    try:
        return decode(payload, frame.kind, frame.first_seq, declaration, layout)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise IntegrityError(
            "a journal frame cannot be decoded",
            topic=declaration.name,
            found=f"{frame.path.name} at byte {frame.offset}: {error}",
        ) from error


def read_joined(frames: list[FrameRef]) -> memoryview:
    """Return the payloads of frames behind each other, each checked, read straight into their place."""
    payload, at = scratch_bytes(sum(frame.length for frame in frames)), 0
    for path, together in groupby(frames, key=lambda frame: frame.path):
        with path.open("rb", buffering=0) as file:
            for run in _neighbours(together):
                pieces = []
                for frame in run:
                    pieces.append(payload[at : at + frame.length])
                    at += frame.length
                _read_run(file.fileno(), run, pieces)
    return payload


def _neighbours(frames: Iterable[FrameRef]) -> Iterator[list[FrameRef]]:
    """Yield runs of frames that lie close together in their file: one read takes a run."""
    run: list[FrameRef] = []
    for frame in frames:
        gap = frame.offset - (run[-1].offset + run[-1].length) if run else 0
        if run and not (0 <= gap <= _GAP_BYTES and len(run) < _RUN_FRAMES):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _read_run(fd: int, run: list[FrameRef], pieces: list[memoryview]) -> None:
    """Fill the pieces with the run's payloads and check each.

    One system call for all of them: each gives the interpreter's lock away, and behind a busy producer it
    takes milliseconds to come back.
    """
    buffers: list[memoryview | bytearray] = []
    end = run[0].offset
    for frame, piece in zip(run, pieces, strict=True):
        if frame.offset > end:
            buffers.append(bytearray(frame.offset - end))
        buffers.append(piece)
        end = frame.offset + frame.length
    wanted = end - run[0].offset
    found = os.preadv(fd, buffers, run[0].offset) if hasattr(os, "preadv") else _read_each(fd, run, pieces)
    if found != wanted:  # a signal cut the read short, or the file is
        _read_each(fd, run, pieces)
    for frame, piece in zip(run, pieces, strict=True):
        _check(frame, piece)


def _read_each(fd: int, run: list[FrameRef], pieces: list[memoryview]) -> int:
    with os.fdopen(os.dup(fd), "rb") as file:
        for frame, piece in zip(run, pieces, strict=True):
            file.seek(frame.offset)
            file.readinto(piece)
    return run[-1].offset + run[-1].length - run[0].offset


def _check(frame: FrameRef, payload: bytes | memoryview) -> None:
    if len(payload) != frame.length or checksum(payload) != frame.payload_crc:
        raise IntegrityError(
            "a journal frame changed after it was indexed", found=f"{frame.path.name} at byte {frame.offset}"
        )


def read_bytes(frame: FrameRef) -> bytes:
    """Return a frame's payload, its CRC checked again: bits may flip between the scan and this read."""
    with frame.path.open("rb") as file:
        file.seek(frame.offset)
        payload = file.read(frame.length)
    _check(frame, payload)
    return payload


def decode(
    payload: Payload, kind: int, first_seq: int, declaration: TopicDeclaration, layout: Layout | None
) -> pa.RecordBatch:
    """Return a payload's rows as one batch of the stored schema."""
    if kind == Kind.PACKED:
        if layout is None:
            raise ValueError("packed rows in a topic that cannot be packed")
        return layout.columns(payload, first_seq)
    schema = declaration.stored_schema if declaration.producer_seq else declaration.schema
    batch = pa.ipc.read_record_batch(pa.py_buffer(payload), schema)
    if declaration.producer_seq:
        return batch
    seq = pa.array(np.arange(first_seq, first_seq + batch.num_rows, dtype=np.int64))
    return pa.RecordBatch.from_arrays([*batch.columns, seq], schema=declaration.stored_schema)


def _in_order(table: pa.Table, producer_seq: bool) -> pa.Table:
    """Return the row group sorted by (time, seq); rows that are in order already are not copied."""
    times = table.column(TIME).to_numpy()
    later = times[1:] >= times[:-1]
    if producer_seq:
        seqs = table.column(SEQ).to_numpy()
        later &= (times[1:] > times[:-1]) | (seqs[1:] >= seqs[:-1])
        if not later.all():
            return table.take(pa.array(np.lexsort((seqs, times)))).combine_chunks()
    elif not later.all():
        return table.take(pa.array(np.argsort(times, kind="stable"))).combine_chunks()
    return table
