"""Datums become stream_datums once an event refers to them and their resource has come."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import Any, Final, NamedTuple

from gapless.bluesky.document import Document
from gapless.bluesky.legacy_event import Reference
from gapless.bluesky.lossless import encode
from gapless.bluesky.normal_rules import Remarks, Rule

DATUM_CONVERTED: Final = Rule(
    "datum-converted",
    1,
    "datum",
    "A datum that an event refers to is a stream_datum; its arguments are parameters of the stream_resource.",
)
DATUM_SHOWN_AGAIN: Final = Rule(
    "datum-shown-again",
    1,
    "datum",
    "A datum that several events refer to is a stream_datum of each, with the same indices.",
)

_SHOWN: Final = 100_000  # resolved datums that are remembered
_INDEX_KEYS: Final = frozenset(("indices", "point_number", "frame"))

#: A document that follows from others: its name and the document.
Emission = tuple[str, Document]


class _Span(NamedTuple):
    start: int
    stop: int


class RecordedFrames(NamedTuple):
    """A stream_datum that is recorded; ``uid`` is the datum_id of what it was made of, if it was made of one."""

    uid: str
    descriptor: str
    stream: str
    data_key: str
    seq_num: int
    start: int
    stop: int


class _FrameCounter:
    """Turns the numbers of last frames, which may begin anew with each file, into indices that go on."""

    __slots__ = ("_carry", "_index", "_resource")

    def __init__(self) -> None:
        self._carry = self._index = 0
        self._resource = ""

    def span(self, resource: str, last_frame: int) -> _Span:
        start = self._carry + self._index
        self._index = last_frame + 1
        stop = self._carry + self._index
        began_anew = stop < start or (stop == start and resource != self._resource)
        if began_anew:
            self._carry = start
            stop = self._carry + self._index
        self._resource = resource
        return _Span(start, stop)


class _Shown(NamedTuple):
    """What a datum that was resolved leaves for the next event that shows it."""

    resource: str
    lasting: Document
    span: _Span
    places: set[int]  # hashes of descriptor, key and seq_num


class DatumJoin:
    """Joins references of events, datums and resources, in whatever order they come.

    Each method returns what can be emitted now: a stream_resource before the first stream_datum that needs
    it, then the stream_datum. ``waiting`` references are those whose datum or resource has not come. Of the
    datums that were resolved, the 100,000 that were referred to last can be shown by another event.
    """

    def __init__(self, remarks: Remarks) -> None:
        self._remarks = remarks
        self._specs: dict[str, str] = {}
        self._resources: dict[str, Document] = {}
        self._datums: dict[str, Document] = {}  # not resolved
        self._waiting: dict[str, list[Reference]] = {}
        self._turn = count()
        self._turns: dict[str, int] = {}  # of each datum that is waited for, in the order of references
        self._for_resource: dict[str, set[str]] = {}  # datums that are waited for and wait themselves
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._lasting: dict[str, Document] = {}  # arguments by their text: datums share them
        self._counters: dict[tuple[str, str], _FrameCounter] = {}
        self._emitted: dict[tuple[str, str, str], dict[str, str]] = {}  # uid by arguments
        self._recorded: dict[
            str, dict[str, str]
        ] = {}  # recorded uids by the first of them, then by parameters
        self._recorded_uids: set[str] = set()
        self._recorded_events: Collection[str] = frozenset()
        self._first_place: dict[
            str, tuple[str, str]
        ] = {}  # of recorded datums: descriptor and key it was shown in

    @property
    def waiting(self) -> list[Reference]:
        """The references that cannot be resolved yet, in the order they came."""
        return [reference for references in self._waiting.values() for reference in references]

    def recall(
        self, resources: Iterable[Document], frames: Iterable[RecordedFrames], events: Collection[str]
    ) -> None:
        """Take the stream_resources and frames that datums which have come were made into before.

        Uids and indices go on from there. ``events`` has the uids of the recorded events: of those, the first one
        that refers to such a datum is the one that its frames were recorded for, and gives them once more.
        """
        for doc in resources:
            first = first_uid(doc)
            if first is not None:
                uids = self._recorded.setdefault(first, {})
                uids.setdefault(_lasting(doc.get("parameters") or {})[0], doc["uid"])
                self._recorded_uids.add(doc["uid"])
        self._recorded_events = events
        for frame in frames:
            datum = self._datums.get(frame.uid)
            if datum is None or datum["resource"] not in self._resources:
                continue
            del self._datums[frame.uid]
            place = Reference(frame.uid, frame.data_key, frame.descriptor, frame.stream, frame.seq_num, "")
            arguments = dict(datum.get("datum_kwargs", {}))
            self._take_span(datum, place, arguments)  # counts on; the indices are those that were recorded
            self._remember(datum, place, arguments, _Span(frame.start, frame.stop))
            self._first_place[frame.uid] = (frame.descriptor, frame.data_key)

    def with_spec(self, datum: Document) -> Document:
        """Return the datum with the spec of its resource among its arguments, as ``_resource_spec``."""
        spec = self._specs.get(datum.get("resource", ""))
        arguments = datum.get("datum_kwargs", {})
        if not spec or not isinstance(arguments, dict):
            return datum
        return {**datum, "datum_kwargs": {**arguments, "_resource_spec": spec}}

    def resource(self, stream_resource: Document, spec: str) -> list[Emission]:
        """Take a resource that was converted, with the spec that it had."""
        uid = stream_resource["uid"]
        self._specs[uid] = spec
        self._resources[uid] = stream_resource
        ready = sorted(self._for_resource.pop(uid, ()), key=self._turns.__getitem__)
        return [emission for datum_id in ready for emission in self._resolve(datum_id)]

    def datum(self, datum: Document) -> list[Emission]:
        """Take a datum."""
        datum_id = datum["datum_id"]
        if datum_id in self._shown:
            return []
        self._datums[datum_id] = datum
        return self._resolve(datum_id) if datum_id in self._waiting else []

    def reference(self, reference: Reference) -> list[Emission]:
        """Take a reference of an event."""
        datum_id = reference.datum_id
        if datum_id in self._shown:
            return self._show(reference)
        self._waiting.setdefault(datum_id, []).append(reference)
        self._turns.setdefault(datum_id, next(self._turn))
        return self._resolve(datum_id) if datum_id in self._datums else []

    def _resolve(self, datum_id: str) -> list[Emission]:
        """Show a datum to the references that wait for it, once its resource is there too."""
        datum = self._datums[datum_id]
        resource = datum["resource"]
        if resource not in self._resources:
            self._for_resource.setdefault(resource, set()).add(datum_id)
            return []
        del self._datums[datum_id], self._turns[datum_id]
        first, *others = self._waiting.pop(datum_id)
        emissions = list(self._convert(datum, first))
        return [*emissions, *(emission for reference in others for emission in self._show(reference))]

    def _convert(self, datum: Document, reference: Reference) -> Iterator[Emission]:
        """Yield what a datum becomes for the first event that refers to it."""
        arguments = dict(datum.get("datum_kwargs", {}))
        span = self._take_span(datum, reference, arguments)
        shown = self._remember(datum, reference, arguments, span)
        self._remarks.count(DATUM_CONVERTED)
        yield from self._first(reference, shown, arguments)

    def _first(self, reference: Reference, shown: _Shown, arguments: Document) -> Iterator[Emission]:
        seq_nums = _Span(shown.span.start + 1, shown.span.stop + 1)
        return self._emissions(reference.datum_id, shown, reference, arguments, seq_nums)

    def _remember(self, datum: Document, reference: Reference, arguments: Document, span: _Span) -> _Shown:
        text, lasting = _lasting(arguments)
        shown = _Shown(datum["resource"], self._lasting.setdefault(text, lasting), span, {_place(reference)})
        self._shown[reference.datum_id] = shown
        if len(self._shown) > _SHOWN:
            self._shown.popitem(last=False)
        return shown

    def _show(self, reference: Reference) -> list[Emission]:
        """Return what a datum becomes that another event has shown: the same indices."""
        shown = self._shown[reference.datum_id]
        self._shown.move_to_end(reference.datum_id)
        is_first, came_before = self._is_first(reference), _place(reference) in shown.places
        shown.places.add(_place(reference))
        if is_first:  # what is recorded comes once more as it was
            return list(self._first(reference, shown, shown.lasting))
        if came_before:
            return []
        self._remarks.count(DATUM_SHOWN_AGAIN)
        seq_num = reference.seq_num
        return list(
            self._emissions(
                f"{reference.datum_id}-{reference.descriptor}-{reference.data_key}-{seq_num}",
                shown,
                reference,
                shown.lasting,
                _Span(seq_num, seq_num + shown.span.stop - shown.span.start),
            )
        )

    def _is_first(self, reference: Reference) -> bool:
        """Say whether a datum's frames were recorded for this event: of the recorded ones, the first that comes."""
        place = self._first_place.get(reference.datum_id)
        is_first = (
            place == (reference.descriptor, reference.data_key) and reference.event in self._recorded_events
        )
        if is_first:
            del self._first_place[reference.datum_id]
        return is_first

    def _emissions(
        self, uid: str, shown: _Shown, reference: Reference, arguments: Document, seq_nums: _Span
    ) -> Iterator[Emission]:
        resource_uid, emissions = self._stream_resource(shown.resource, reference, arguments)
        yield from emissions
        yield (
            "stream_datum",
            {
                "uid": uid,
                "stream_resource": resource_uid,
                "descriptor": reference.descriptor,
                "indices": shown.span._asdict(),
                "seq_nums": seq_nums._asdict(),
            },
        )

    def _take_span(self, datum: Document, reference: Reference, arguments: Document) -> _Span:
        """Take the indices out of the arguments: ``indices``, else ``point_number``, else ``frame``, else seq_num."""
        if indices := arguments.pop("indices", None):
            span = _range(indices)
            if span is not None:
                return span
            self._cannot_count(datum, "indices")
        if (point := arguments.pop("point_number", None)) is not None:
            number = _whole(point)
            if number is not None:
                return _Span(number, number + 1)
            self._cannot_count(datum, "point_number")
        if (frame := arguments.pop("frame", None)) is not None:
            number = _whole(frame)
            if number is not None:
                counter = self._counters.setdefault((reference.stream, reference.data_key), _FrameCounter())
                return counter.span(datum["resource"], number)
            self._cannot_count(datum, "frame")
        return _Span(reference.seq_num - 1, reference.seq_num)

    def _cannot_count(self, datum: Document, key: str) -> None:
        self._remarks.find(
            "datum-index-unreadable",
            f"The {key} of datums of {datum['resource']!r} is no number; the next rule decided their indices",
            resource=datum["resource"],
        )

    def _stream_resource(
        self, resource: str, reference: Reference, arguments: Document
    ) -> tuple[str, list[Emission]]:
        """Return the uid of the stream_resource with these arguments, and it too where it is a new one."""
        emitted = self._emitted.setdefault((resource, reference.descriptor, reference.data_key), {})
        text, _ = _lasting(arguments)
        if text in emitted:
            return emitted[text], []
        known = self._resources[resource]
        parameters = {**known["parameters"], **arguments}
        first = f"{resource}-{reference.descriptor}-{reference.data_key}"
        emitted[text] = uid = self._free_uid(first, parameters, len(emitted))
        doc = {**known, "uid": uid, "data_key": reference.data_key, "parameters": parameters}
        return uid, [("stream_resource", doc)]

    def _free_uid(self, first: str, parameters: Document, emitted: int) -> str:
        """Return the uid that stands for these parameters: a recorded one, else the next."""
        recorded = self._recorded.get(first)
        if recorded is None:
            return f"{first}-{emitted + 1}" if emitted else first
        text, _ = _lasting(parameters)
        if text not in recorded:
            uids = (f"{first}-{number}" for number in count(len(recorded) + 1))
            recorded[text] = next(uid for uid in uids if uid not in self._recorded_uids)
            self._recorded_uids.add(recorded[text])
        return recorded[text]


def _lasting(arguments: Document) -> tuple[str, Document]:
    """Return the arguments that hold for more than one datum, and their text."""
    lasting = {key: arguments[key] for key in sorted(arguments) if key not in _INDEX_KEYS}
    return encode(lasting), lasting


def first_uid(stream_resource: Document) -> str | None:
    """Return the uid of the first stream_resource that was made of the same resource for the same data key.

    None for one that was made of no resource, as far as its uid tells.
    """
    end = re.escape(f"-{stream_resource.get('data_key')}")
    found = re.fullmatch(rf"(.+{end})(-\d+)?", str(stream_resource["uid"]))
    return found[1] if found else None


def _place(reference: Reference) -> int:
    return hash((reference.descriptor, reference.data_key, reference.seq_num))


def unresolved_findings(references: Iterable[Reference]) -> Iterator[dict[str, Any]]:
    """Yield a finding for each data key with references to datums that have not come."""
    lost: dict[tuple[str, str], list[Reference]] = {}
    for reference in references:
        lost.setdefault((reference.stream, reference.data_key), []).append(reference)
    for (stream, key), references_of_key in lost.items():
        yield {
            "code": "datum-unresolved",
            "message": f"Events of stream {stream!r} refer to datums of {key!r} that never came",
            "stream": stream,
            "data_key": key,
            "count": len(references_of_key),
            "first": references_of_key[0].datum_id,
        }


def _whole(value: Any) -> int | None:
    """Return a number as an int if it is a whole one."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number == value else None


def _range(indices: Any) -> _Span | None:
    if not isinstance(indices, dict):
        return None
    start, stop = _whole(indices.get("start")), _whole(indices.get("stop"))
    return None if start is None or stop is None else _Span(start, stop)
