"""Carry segments: rows of slow topics are copied together so that old segments can go.

A segment is needed as long as one of its rows is not in a completed part. A topic of one row a second
would so keep every segment for hours. When at most a quarter of a segment is still needed, or it is full
of small frames, what is needed is written into a carry segment, synced, and the segment is deleted. Small
segments of about the same size are put together when there are many: however long a recording is, there
are few of them, and frames that follow each other become one. Each row is copied a few times, one more for
each time that the recording is eight times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from gapless.model.metadata import canonical_json
from gapless.store.closed_segment import Segment
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import HEADER_BYTES, Kind, checksum, encode_header
from gapless.store.frame_index import FrameIndex, FrameRef
from gapless.store.layout import SEGMENT_BYTES, carry_name
from gapless.store.packing import Layout
from gapless.store.topic_sealer import decode_frames, read_joined

if TYPE_CHECKING:
    from gapless.store.sealer import Sealer

_LIVE_SHARE = 4  # a segment is copied when at most 1/4 of its row bytes are needed
_SMALL_FRAME_BYTES = 8 << 10  # below this average the index of frames would grow in memory
_SMALL_FRAMES = 1024
_JOINED_BYTES = 1 << 20
_TOGETHER = 8  # so many small segments of about one size become one; sizes differ by as much
_LEAST_BYTES = 64 << 10  # all below count as of one size
_FULL_BYTES = SEGMENT_BYTES // 2  # one with so many bytes of rows stays as it is


def to_carry(segments: Iterable[tuple[Segment, int, int]]) -> list[Segment]:
    """Return the segments to copy now, given each with its needed frames and their bytes.

    Those with damage or with rows given up stay.
    """
    chosen: list[Segment] = []
    alike: dict[int, list[Segment]] = {}
    for segment, frames, size in segments:
        if segment.damaged or segment.drops or not frames:
            continue
        if _worth_it(segment, frames, size):
            chosen.append(segment)
        elif segment.row_bytes < _FULL_BYTES:
            alike.setdefault(_size_class(size), []).append(segment)
    for _, members in sorted(alike.items()):
        if len(members) >= _TOGETHER:
            chosen += members
    return chosen


def _worth_it(segment: Segment, frames: int, size: int) -> bool:
    """Tell whether copying the segment's needed frames pays whatever the other segments are like."""
    if size * _LIVE_SHARE <= segment.row_bytes:
        return True
    return not segment.carried and frames > _SMALL_FRAMES and size // frames < _SMALL_FRAME_BYTES


def _size_class(size: int) -> int:
    return (max(size, _LEAST_BYTES).bit_length() - 1) // (_TOGETHER.bit_length() - 1)


def carry(sealer: Sealer, segments: Iterable[Segment], number: int) -> Segment:
    """Write the segments' needed frames into one durable carry segment and refer to them there.

    The segments can go once the declarations and notes in them are published.
    """
    files = {segment.path for segment in segments}
    path = sealer.bundle.journal / carry_name(number)
    platform = sealer.platform
    carried = Segment(path, {}, carried=True)
    copies: dict[int, FrameIndex] = {}
    partial = path.with_name(f"{path.name}.partial")  # what a kill leaves of it is no segment
    partial.unlink(missing_ok=True)
    fd = platform.create(partial)
    try:
        opening = canonical_json(sealer.header)
        header = encode_header(Kind.OPEN, sealer.header["nonce"], number, 0, 0, 0, opening, 0)
        offset = platform.write(fd, [header, opening])
        for index, topic in list(sealer.topics.items()):
            for joined in _joined(topic.live.inside(files)):
                payload, frame = _rewrite(joined, topic.declaration, path, offset)
                header = encode_header(
                    Kind(frame.kind),
                    sealer.header["nonce"],
                    number,
                    index,
                    frame.first_seq,
                    frame.rows,
                    payload,
                    frame.value_bytes,
                    frame.flags,
                )
                offset += platform.write(fd, [header, payload])
                copies.setdefault(index, FrameIndex()).append(frame)
                carried.reach[index] = frame.end_seq
                carried.row_bytes += frame.length
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.replace(partial, path)
    platform.sync_directory(path.parent)
    for index, frames in copies.items():
        sealer.topics[index].live.replace(files, frames)
    return carried


def _joined(frames: Iterable[FrameRef]) -> Iterator[list[FrameRef]]:
    """Yield runs of frames that follow each other and make at most about 1 MiB together."""
    run: list[FrameRef] = []
    size = 0
    for frame in frames:
        fits = bool(run) and run[-1].end_seq == frame.first_seq and size + frame.length <= _JOINED_BYTES
        if run and not (fits and run[-1].flags == frame.flags):
            yield run
            run, size = [], 0
        run.append(frame)
        size += frame.length
    if run:
        yield run


def _rewrite(
    frames: list[FrameRef], declaration: TopicDeclaration, path: Path, offset: int
) -> tuple[bytes | memoryview, FrameRef]:
    """Return the payload of joined frames and where it will lie."""
    first = frames[0]
    kind = first.kind
    payload: bytes | memoryview = read_joined(frames)
    if len(frames) > 1 and any(frame.kind != Kind.PACKED for frame in frames):
        kind = Kind.ARROW
        table = pa.Table.from_batches(decode_frames(frames, payload, declaration, Layout.of(declaration)))
        if not declaration.producer_seq:
            table = table.drop_columns(["_seq"])
        payload = table.combine_chunks().to_batches()[0].serialize().to_pybytes()
    frame = FrameRef(
        path,
        offset + HEADER_BYTES,
        len(payload),
        kind,
        first.first_seq,
        sum(frame.rows for frame in frames),
        sum(frame.value_bytes for frame in frames),
        first.flags,
        checksum(payload),
    )
    return payload, frame
