"""Carry segments: rows of slow topics are copied together so that old segments can go.

A segment is needed as long as one of its rows is not in a completed part. A topic of one row a second
would so keep every segment for hours. When at most a quarter of a segment is still needed, or it is full
of small frames, what is needed is written into a carry segment, synced, and the segment is deleted. Each
row is therefore copied a bounded number of times.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from crc32c import crc32c

from gapless.model.metadata import canonical_json
from gapless.store.declaration import TopicDeclaration
from gapless.store.frame import HEADER_BYTES, Kind, encode_header
from gapless.store.layout import carry_name
from gapless.store.packing import Layout
from gapless.store.topic_sealer import FrameRef, read_bytes, read_frame

if TYPE_CHECKING:
    from gapless.store.sealer import Sealer, Segment

_LIVE_SHARE = 4  # a segment is copied when at most 1/4 of its row bytes are needed
_SMALL_FRAME_BYTES = 8 << 10  # below this average the index of frames would grow in memory
_SMALL_FRAMES = 1024
_JOINED_BYTES = 1 << 20


def worth_carrying(segment: Segment, live: list[FrameRef]) -> bool:
    """Tell whether copying the segment's needed frames pays."""
    if not live:
        return False
    live_bytes = sum(f.length for f in live)
    if live_bytes * _LIVE_SHARE <= segment.row_bytes:
        return True
    return not segment.carried and len(live) > _SMALL_FRAMES and live_bytes // len(live) < _SMALL_FRAME_BYTES


def carry(sealer: Sealer, segment: Segment, number: int) -> tuple[Path, dict[int, list[FrameRef]]]:
    """Write the segment's needed frames into a durable carry segment.

    Returns its path and, for each topic, the frames that replace those of the segment.
    """
    path = segment.path.with_name(carry_name(number))
    platform = sealer.platform
    replaced: dict[int, list[FrameRef]] = {}
    fd = platform.create(path)
    try:
        opening = canonical_json(sealer.header)
        header = encode_header(Kind.OPEN, sealer.header["nonce"], number, 0, 0, 0, opening, 0)
        offset = platform.write(fd, [header, opening])
        for index, topic in list(sealer.topics.items()):
            mine = [f for f in topic.live if f.path == segment.path]
            for joined in _joined(mine):
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
                replaced.setdefault(index, []).append(frame)
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.sync_directory(path.parent)
    return path, replaced


def _joined(frames: list[FrameRef]) -> list[list[FrameRef]]:
    """Return runs of frames that follow each other and make at most about 1 MiB together."""
    runs: list[list[FrameRef]] = []
    size = 0
    for frame in frames:
        fits = bool(runs) and runs[-1][-1].end_seq == frame.first_seq and size + frame.length <= _JOINED_BYTES
        if fits and runs[-1][-1].flags == frame.flags:
            runs[-1].append(frame)
            size += frame.length
        else:
            runs.append([frame])
            size = frame.length
    return runs


def _rewrite(
    frames: list[FrameRef], declaration: TopicDeclaration, path: Path, offset: int
) -> tuple[bytes, FrameRef]:
    """Return the payload of joined frames and where it will lie."""
    first, rows = frames[0], sum(f.rows for f in frames)
    kinds = [kind for kind, _ in groupby(f.kind for f in frames)]
    if kinds == [Kind.PACKED] or len(frames) == 1:
        kind = first.kind
        payload = b"".join(read_bytes(f) for f in frames)
    else:
        kind = Kind.ARROW
        layout = Layout.of(declaration)
        batches = [read_frame(f, declaration, layout) for f in frames]
        table = pa.Table.from_batches(batches).combine_chunks()
        if not declaration.producer_seq:
            table = table.drop_columns(["_seq"])
        payload = table.to_batches()[0].serialize().to_pybytes()
    frame = FrameRef(
        path,
        offset + HEADER_BYTES,
        len(payload),
        kind,
        first.first_seq,
        rows,
        sum(f.value_bytes for f in frames),
        first.flags,
        crc32c(payload),
    )
    return payload, frame
