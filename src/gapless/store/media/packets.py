"""The packets of a media topic in the order they were encoded, from the keyframe that a window needs.

Rows are stored by time, and pictures may have been pushed out of order; a decoder needs the order of the
encoder. A small scan of numbers and keyframes makes the plan, a second one brings the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from gapless.errors import IntegrityError, SchemaRefused
from gapless.store.media.rows import TAG
from gapless.store.reader import TopicReader

_BATCH_ROWS = 64  # some tens of MiB of PNG, far less of H.264
_COLUMNS = ["data", "encoding", "keyframe", "width", "height", "pixels", "packet"]
_LAST_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture. ``wanted``: in the window, not only on the way to it."""

    timestamp_ns: int
    stream: str
    number: int
    data: bytes
    encoding: str
    keyframe: bool
    width: int
    height: int
    pixels: str
    wanted: bool
    decodable: bool  # all pictures that it builds upon are there


@dataclass(frozen=True)
class _Plan:
    """Which packets of one stream are needed, in the order of their numbers."""

    stream: str
    numbers: npt.NDArray[np.int64]
    wanted: npt.NDArray[np.bool_]
    decodable: npt.NDArray[np.bool_]
    start_ns: int
    end_ns: int  # inclusive


def packets(
    reader: TopicReader,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    skip_undecodable: bool = False,
) -> Iterator[Packet]:
    """Yield what shows ``[start_ns, end_ns)``, stream by stream: the sequence itself, then its layers.

    A wanted picture whose predecessors are missing raises IntegrityError, or is left out.
    """
    if reader.ontology.get("tag") != TAG:
        raise SchemaRefused(
            "the topic holds no encoded images",
            sequence=reader.bundle.name,
            topic=reader.name,
            found=reader.ontology.get("tag"),
            expected=TAG,
            next_step="create it with media='png', 'mp4' or 'ffv1'; scan() reads any topic",
        )
    for plan in _plans(reader, start_ns, end_ns):
        for packet in _in_order(reader, plan):
            if packet.decodable:
                yield packet
            elif packet.wanted and not skip_undecodable:
                raise IntegrityError(
                    "a picture cannot be shown: pictures that it builds upon are missing",
                    sequence=reader.bundle.name,
                    topic=reader.name,
                    found=f"picture {packet.number} at {packet.timestamp_ns}",
                    next_step="topic `_gaps` tells what was lost; skip_undecodable=True goes on at the next keyframe",
                )


def _plans(reader: TopicReader, start_ns: int | None, end_ns: int | None) -> list[_Plan]:
    times, streams, numbers, keys = _index(reader)
    plans = []
    for stream in dict.fromkeys(streams.tolist()):
        chosen = np.flatnonzero(streams == stream)
        chosen = chosen[np.argsort(numbers[chosen], kind="stable")]
        t, n, key = times[chosen], numbers[chosen], keys[chosen]
        wanted = np.ones(len(t), np.bool_)
        wanted &= True if start_ns is None else t >= start_ns
        wanted &= True if end_ns is None else t < end_ns
        if not wanted.any():
            continue
        places = np.flatnonzero(wanted)
        earlier = np.flatnonzero(key[: places[0] + 1])
        first, last = int(earlier[-1]) if len(earlier) else int(places[0]), int(places[-1])
        part = slice(first, last + 1)
        plans.append(
            _Plan(
                str(stream),
                n[part],
                wanted[part],
                _decodable(n[part], key[part]),
                int(t[part].min()),
                int(t[part].max()),
            )
        )
    return plans


def _index(reader: TopicReader) -> tuple[npt.NDArray[Any], ...]:
    """Return time, stream, number and keyframe of each row, some 20 bytes a picture."""
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    for batch in reader.scan(["stream", "packet", "keyframe"]):
        for kept, name in zip(columns, ("timestamp_ns", "stream", "packet", "keyframe"), strict=True):
            kept.append(batch.column(name).to_numpy(zero_copy_only=False))
    kinds = (np.int64, object, np.int64, np.bool_)
    return tuple(
        np.concatenate(kept) if kept else np.empty(0, kind) for kept, kind in zip(columns, kinds, strict=True)
    )


def _decodable(numbers: npt.NDArray[np.int64], keys: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell of each packet whether every one since its keyframe is there."""
    places = np.arange(len(numbers))
    last_key = np.maximum.accumulate(np.where(keys, places, -1))
    since = np.where(last_key >= 0, last_key, 0)
    result: npt.NDArray[np.bool_] = (last_key >= 0) & (numbers - numbers[since] == places - since)
    return result


def _in_order(reader: TopicReader, plan: _Plan) -> Iterator[Packet]:
    """Yield the planned packets by number; those that come early by their times wait for their turn."""
    place = {int(number): k for k, number in enumerate(plan.numbers)}
    early: dict[int, Packet] = {}
    turn = 0
    end_ns = None if plan.end_ns == _LAST_NS else plan.end_ns + 1
    only = pc.field("stream") == plan.stream
    for batch in reader.scan(_COLUMNS, plan.start_ns, end_ns, filter=only, batch_rows=_BATCH_ROWS):
        names = ("timestamp_ns", *_COLUMNS)
        for time_ns, data, encoding, key, width, height, pixels, number in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            k = place.get(number)
            if k is None:
                continue
            wanted, whole = bool(plan.wanted[k]), bool(plan.decodable[k])
            early[k] = Packet(
                time_ns, plan.stream, number, data, encoding, key, width, height, pixels, wanted, whole
            )
            while turn in early:
                yield early.pop(turn)
                turn += 1
