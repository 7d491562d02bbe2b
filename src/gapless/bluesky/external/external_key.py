"""One data key whose values lie in external files, read by event."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gapless.bluesky.external.external_file import Array
from gapless.bluesky.external.frame_map import FrameMap, FrameRange, pieces_of
from gapless.bluesky.external.reference import Reference
from gapless.bluesky.external.resource import Resource
from gapless.bluesky.external.roots import Roots
from gapless.errors import ArgumentRefused, IntegrityError

_BLOCK_BYTES = 64 << 20
Selector: TypeAlias = slice | int | tuple[slice | int, ...] | None


class ExternalKey:
    """The external values of one data key.

    ``resources`` are in the order in which frames of them were first referred to. ``ranges`` are all
    references in order of arrival, those that follow each other as one; ``frames`` maps seq_nums to the
    frame that came last for them.
    """

    def __init__(
        self,
        name: str,
        documents: Mapping[str, Mapping[str, Any]],
        data_keys: Sequence[Mapping[str, Any]],
    ) -> None:
        """``documents``: stream_resources by uid. ``data_keys``: of each descriptor, by its ordinal."""
        self.name = name
        self.resources: list[Resource] = []
        self.ranges: list[FrameRange] = []
        self.frames = FrameMap()
        self._documents = documents
        self._data_keys = data_keys
        self._ordinals: dict[str, int] = {}
        self._greatest = 0  # index_stop of the resource before

    def add(self, one: Reference) -> None:
        """Take the next reference, in order of arrival."""
        ordinal = self._ordinals.get(one.resource)
        if ordinal is None:
            ordinal = self._ordinals[one.resource] = len(self.resources)
            self.resources.append(self._resource(one))
        self._greatest = max(self._greatest, one.index_stop)
        taken = FrameRange(ordinal, one.index_start, one.index_stop, one.seq_start, one.seq_stop)
        self.frames.add(taken)
        whole = one.index_stop - one.index_start == one.seq_stop - one.seq_start
        if whole and self.ranges and taken.continues(self.ranges[-1]) and self._is_whole(self.ranges[-1]):
            last = self.ranges[-1]
            self.ranges[-1] = FrameRange(
                ordinal, last.index_start, one.index_stop, last.seq_start, one.seq_stop
            )
        else:
            self.ranges.append(taken)

    @staticmethod
    def _is_whole(one: FrameRange) -> bool:
        return one.index_stop - one.index_start == one.seq_stop - one.seq_start

    def _resource(self, first: Reference) -> Resource:
        """Return a resource met for the first time, with the index that its first frame has.

        Indices begin at 0 in each resource, or go on from the resource before: the first index tells. A
        resource that is the same place as an earlier one counts as that does.
        """
        document = self._documents.get(first.resource, {"uid": first.resource})
        known = self._data_keys[first.descriptor] if first.descriptor < len(self._data_keys) else {}
        resource = Resource.of(document, known)
        same = next((r for r in self.resources if r.place == resource.place), None)
        goes_on = 0 < self._greatest <= first.index_start
        offset = same.offset if same is not None else self._greatest if goes_on else 0
        if same is None:
            self._greatest = 0
        return Resource.of(document, known, offset)

    def within(self, roots: Roots) -> ExternalKey:
        """Return the key as it is now, whose files are opened below some folders only."""
        held = copy(self)
        held.resources = [replace(resource, roots=roots) for resource in self.resources]
        return held

    def __len__(self) -> int:
        """Return the number of events that have a value."""
        return len(self.frames)

    @property
    def join(self) -> str:
        """``stack``: events follow along a new first axis; ``concat``: along the first that they have."""
        return self.resources[0].datum.join if self.resources else "stack"

    @property
    def event_shape(self) -> tuple[int | None, ...]:
        """The declared shape of one event's value; None for a size that only the files tell."""
        return self.resources[0].datum.shape if self.resources else ()

    @property
    def declared_dtype(self) -> np.dtype[Any] | None:
        """The type that the data key declares; the files may tell another, and reading gives theirs."""
        return self.resources[0].datum.dtype if self.resources else None

    def seq_nums(self) -> NDArray[np.int64]:
        """Return the seq_nums of the events that :meth:`read` gives, rising."""
        return self.frames.seq_nums()

    def read(self, select: Selector = None, *, all: bool = False) -> Array:  # noqa: A002 - as the table's read
        """Return the values of some events, those of all by default, in the order of :meth:`seq_nums`.

        ``select`` indexes events as numpy does; in a tuple, the rest indexes each event's value.
        ``all=True`` takes every frame in order of arrival: also those of superseded events, and those that
        belong to none. Only files that hold chosen events are opened. Shape ``(events, *event shape)``, or
        with the first two joined where :attr:`join` is ``concat``; an integer for the events drops them.
        """
        events, inner = _split(select)
        ranges = [_unnumbered(one) for one in self.ranges] if all else None
        count = sum(map(len, ranges)) if ranges is not None else len(self)
        places, single = _places(events, count)
        backwards = places.step < 0
        rising = places[::-1] if backwards else places
        pieces = pieces_of(ranges, rising) if ranges is not None else self.frames.pieces(rising)
        values = self._collect(pieces, len(places), inner)
        if backwards:
            values = values[::-1]
        if single:
            return values[0]  # type: ignore[no-any-return]
        if self.join == "concat" and values.ndim > 1 and not (inner and isinstance(inner[0], int)):
            return values.reshape(-1, *values.shape[2:])
        return values

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Yield seq_nums and values of all events in blocks of at most 64 MiB, or one event."""
        for piece in self.frames.pieces(range(len(self))):
            for part in self._cut(piece):
                values = self.resources[part.resource].read(part.index_start, part.index_stop)
                yield np.arange(part.seq_start, part.seq_stop, dtype=np.int64), values

    def _collect(self, pieces: Iterable[FrameRange], count: int, inner: tuple[slice | int, ...]) -> Array:
        out: Array | None = None
        place = 0
        for piece in pieces:
            for part in self._cut(piece):
                values = self.resources[part.resource].read(part.index_start, part.index_stop)
                if inner:
                    values = values[(slice(None), *inner)]
                if out is None:
                    out = np.empty((count, *values.shape[1:]), values.dtype)
                if values.dtype != out.dtype or values.shape[1:] != out.shape[1:]:
                    raise self._differs(out, values)
                out[place : place + len(values)] = values
                place += len(values)
        if out is not None:
            return out
        nothing = np.empty((0, *(size or 0 for size in self.event_shape)), self.declared_dtype)
        return nothing[(slice(None), *inner)] if inner else nothing

    def _differs(self, out: Array, values: Array) -> IntegrityError:
        return IntegrityError(
            "the resources of one data key hold values that are no one array",
            field=self.name,
            found=f"{values.dtype} {list(values.shape[1:])}",
            expected=f"{out.dtype} {list(out.shape[1:])}",
            next_step="read the events of one resource at a time",
        )

    def _cut(self, piece: FrameRange) -> Iterator[FrameRange]:
        """Cut a piece so that no read needs more than 64 MiB, unless one event does."""
        datum = self.resources[piece.resource].datum
        event_bytes = math.prod(size or 1 for size in datum.shape) * (datum.dtype or np.dtype("<f8")).itemsize
        events = max(_BLOCK_BYTES // max(event_bytes, 1), 1)
        for start in range(0, len(piece), events):
            yield piece.part(start, min(start + events, len(piece)))


def _unnumbered(one: FrameRange) -> FrameRange:
    """Return a range in which each frame counts, whether or not it belongs to an event."""
    frames = one.index_stop - one.index_start
    return FrameRange(one.resource, one.index_start, one.index_stop, one.seq_start, one.seq_start + frames)


def _split(select: Selector) -> tuple[slice | int, tuple[slice | int, ...]]:
    parts = select if isinstance(select, tuple) else (select,)
    for part in parts:
        if part is not None and not isinstance(part, slice | int | np.integer):
            raise ArgumentRefused(
                "events are chosen by a slice or a number",
                found=repr(select),
                expected="such as slice(0, 10)",
            )
    first = parts[0] if parts else None
    return slice(None) if first is None else first, tuple(part for part in parts[1:] if part is not None)


def _places(events: slice | int, count: int) -> tuple[range, bool]:
    if isinstance(events, slice):
        return range(*events.indices(count)), False
    place = int(events) + count if events < 0 else int(events)
    if not 0 <= place < count:
        raise ArgumentRefused("there is no such event", found=int(events), expected=f"below {count}")
    return range(place, place + 1), True
