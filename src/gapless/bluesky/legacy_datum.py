"""Datums become stream_datums once an event refers to them and their resource has come."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
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

    @property
    def waiting(self) -> list[Reference]:
        """The references that cannot be resolved yet, in the order they came."""
        return [reference for references in self._waiting.values() for reference in references]

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
        text, lasting = _lasting(arguments)
        shown = _Shown(datum["resource"], self._lasting.setdefault(text, lasting), span, {_place(reference)})
        self._shown[reference.datum_id] = shown
        if len(self._shown) > _SHOWN:
            self._shown.popitem(last=False)
        self._remarks.count(DATUM_CONVERTED)
        yield from self._emissions(
            reference.datum_id, shown, reference, arguments, _Span(span.start + 1, span.stop + 1)
        )

    def _show(self, reference: Reference) -> list[Emission]:
        """Return what a datum becomes that another event has shown: the same indices."""
        shown = self._shown[reference.datum_id]
        self._shown.move_to_end(reference.datum_id)
        if _place(reference) in shown.places:
            return []  # the same event came twice
        shown.places.add(_place(reference))
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
        uid = f"{resource}-{reference.descriptor}-{reference.data_key}"
        if emitted:
            uid += f"-{len(emitted) + 1}"
        emitted[text] = uid
        known = self._resources[resource]
        doc = {
            **known,
            "uid": uid,
            "data_key": reference.data_key,
            "parameters": {**known["parameters"], **arguments},
        }
        return uid, [("stream_resource", doc)]


def _lasting(arguments: Document) -> tuple[str, Document]:
    """Return the arguments that hold for more than one datum, and their text."""
    lasting = {key: arguments[key] for key in sorted(arguments) if key not in _INDEX_KEYS}
    return encode(lasting), lasting


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
