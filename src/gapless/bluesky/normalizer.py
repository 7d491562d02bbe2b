"""The normalizer: documents of one run, of whatever generation, become documents of the current event model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

from gapless.bluesky.document import DOCUMENT_NAMES, Document, copy_document
from gapless.bluesky.document_check import check_document
from gapless.bluesky.legacy_datum import DatumJoin, Emission, RecordedFrames, unresolved_findings
from gapless.bluesky.legacy_descriptor import DESCRIPTOR_RULES
from gapless.bluesky.legacy_event import EventPlan, Reference
from gapless.bluesky.legacy_resource import resource_rules
from gapless.bluesky.mimetypes import SpecTable
from gapless.bluesky.normal_rules import Remarks, apply_rules
from gapless.bluesky.pages import datums_of, datums_of_bulk, events_of, events_of_bulk
from gapless.bluesky.same_value import same_value
from gapless.errors import DocumentRefused

#: Takes the name of a document and the document.
Callback = Callable[[str, Document], Any]
#: Takes a document and returns what is used instead.
Patch = Callable[[Document], Document]


_EVENT_KEYS: Final = frozenset(("uid", "descriptor", "seq_num", "time", "data", "timestamps"))


class _Listener(NamedTuple):
    callback: Callback
    name: str
    pages: bool

    def hears(self, name: str) -> bool:
        """Say whether documents of this name go to the callback as they are."""
        if name == "event_page":
            return self.pages and self.name in ("all", "event", "event_page")
        return self.name in ("all", name)


class RunNormalizer:
    """Makes the documents of one run modern and hands them to its subscribers.

    Call it with ``(name, document)``; what it was given is never changed. Modern documents pass unchanged;
    resources and datums leave as stream_resource and stream_datum documents, in front of what needs them;
    pages and bulks leave as single events, except to subscribers that take pages. A document without what
    its kind must have raises DocumentRefused, which names the key, and nothing is emitted.

    ``patches``: by document name, a function that is given a copy of each such document before the rules
    and returns what is used instead. ``spec_to_mimetype`` adds to the table of specs.

    Its methods are those of the documents, and each can be overridden; it gets the patched document, a copy
    of its own that it may change, and hands it on by ``super()``::

        class OurNormalizer(RunNormalizer):
            def descriptor(self, doc):
                doc["data_keys"]["det"]["units"] = "counts"
                super().descriptor(doc)

    ``notes`` are sentences about what was changed, ``findings`` are what somebody should look at, and
    ``rules_used`` counts the uses of each versioned rule.
    """

    def __init__(
        self,
        patches: Mapping[str, Patch] | None = None,
        spec_to_mimetype: Mapping[str, str] | None = None,
    ) -> None:
        self._patches = dict(patches or {})
        for name in self._patches:
            _check_name(name, "there is no such document to patch")
        self._spec_to_mimetype = dict(spec_to_mimetype or {})
        self._remarks = Remarks()
        self._methods: dict[str, Callable[[Document], object]] = {
            name: getattr(self, name) for name in DOCUMENT_NAMES
        }
        own = {
            name for name in DOCUMENT_NAMES if getattr(type(self), name) is not getattr(RunNormalizer, name)
        }
        self._opened = own | self._patches.keys()  # these get copies, since a user's code may change them
        self._resource_rules = resource_rules(SpecTable(spec_to_mimetype))
        self._join = DatumJoin(self._remarks)
        self._plans: dict[str, EventPlan] = {}
        self._tokens = count()
        self._listeners: dict[int, _Listener] = {}
        self._callbacks: dict[str, tuple[Callback, ...]] = {}
        self._event_callbacks: tuple[Callback, ...] = ()  # of events that came as a page
        self._input: tuple[str, Document] | None = None
        self._output: tuple[str, Document] | None = None

    # -- what it says of the run ---------------------------------------------------------------

    @property
    def notes(self) -> list[str]:
        """Sentences about changes, each once."""
        return self._remarks.notes

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What somebody should look at now: dicts of ``code``, ``message`` and facts."""
        return [*self._remarks.findings, *unresolved_findings(self.unresolved)]

    @property
    def rules_used(self) -> dict[str, int]:
        """How often each rule changed something, by its versioned name."""
        return self._remarks.used

    @property
    def unresolved(self) -> list[Reference]:
        """The references of events to datums that have not come, or whose resource has not."""
        return self._join.waiting

    def options(self) -> dict[str, Any]:
        """Return what it was made with, as JSON: the names of its patches, and its specs."""
        return {"patches": sorted(self._patches), "spec_to_mimetype": self._spec_to_mimetype}

    def changed_from(self) -> Document | None:
        """Return the document as it came, while one of the same kind is emitted that differs from it.

        None when both are equal, and when what is emitted follows from other documents.
        """
        if self._input is None or self._output is None or self._input[0] != self._output[0]:
            return None
        original, emitted = self._input[1], self._output[1]
        return None if same_value(original, emitted) else original

    def resume(self, references: Iterable[Reference]) -> None:
        """Take references that events of the run left behind which were normalised long before."""
        for reference in references:
            self._emit_all(self._join.reference(reference))

    def recall(
        self, resources: Iterable[Document], frames: Iterable[RecordedFrames], events: Collection[str]
    ) -> None:
        """Take what was made of datums that have come; ``events`` has the uids of those that are recorded."""
        self._join.recall(resources, frames, events)

    # -- subscribers ---------------------------------------------------------------------------

    def subscribe(self, func: Callback, name: str = "all", *, pages: bool = False) -> int:
        """Hand documents of a name, or all, to ``func(name, document)``; return a token.

        With ``pages`` an event_page comes as it is where all its values are internal; without, as events.
        Subscribers are called in the order they came; what they raise goes to the caller.
        """
        if name != "all":
            _check_name(name, "there is no such document to subscribe to")
        token = next(self._tokens)
        self._listeners[token] = _Listener(func, name, pages)
        self._find_callbacks()
        return token

    def unsubscribe(self, token: int) -> None:
        """Stop handing documents to a subscriber; a token that is not known is ignored."""
        self._listeners.pop(token, None)
        self._find_callbacks()

    def _find_callbacks(self) -> None:
        listeners = self._listeners.values()
        self._callbacks = {
            name: tuple(listener.callback for listener in listeners if listener.hears(name))
            for name in DOCUMENT_NAMES
        }
        self._event_callbacks = tuple(
            listener.callback
            for listener in listeners
            if listener.hears("event") and not listener.hears("event_page")
        )

    def emit(self, name: str, doc: Document) -> None:
        """Hand a normal document to the subscribers; what a subclass emits itself goes through here too."""
        self._output = (name, doc)
        for callback in self._callbacks.get(name, ()):
            callback(name, doc)

    def _emit_all(self, emissions: list[Emission]) -> None:
        for name, doc in emissions:
            self.emit(name, doc)

    # -- documents come in ---------------------------------------------------------------------

    def __call__(self, name: str, doc: Document, validate: bool = False) -> None:
        """Take one document; with ``validate`` its identifiers, times and numbers must be such as well."""
        self._take(name, doc, scalars=validate)

    def _take(self, name: str, doc: Document, *, scalars: bool = False) -> None:
        method = self._methods.get(name)
        if method is None:
            raise DocumentRefused("no document has this name", found=name)
        if doc.__class__ is not dict:
            doc = copy_document(doc)
        self._input = (name, doc)
        if name == "datum":
            doc = self._join.with_spec(doc)
        if name in self._opened:
            doc = self._patched(name, doc)
        check_document(name, doc, scalars=scalars)
        method(doc)

    def _patched(self, name: str, doc: Document) -> Document:
        own = copy_document(doc)
        patch = self._patches.get(name)
        if patch is None:
            return own
        patched = patch(own)
        if not isinstance(patched, dict):
            raise DocumentRefused(
                f"the patch of {name!r} returned no document",
                found=type(patched).__name__,
                expected="dict",
                next_step="return the document from the patch",
            )
        return patched

    def start(self, doc: Document) -> None:
        """Take the start of the run."""
        self.emit("start", doc)

    def descriptor(self, doc: Document) -> None:
        """Take a descriptor: apply its rules and plan how its events are normalised."""
        normal = apply_rules(DESCRIPTOR_RULES, doc, self._remarks)
        self._plans[doc["uid"]] = EventPlan(doc, normal)
        self.emit("descriptor", normal)

    def event(self, doc: Document) -> None:
        """Take an event: emit its values, then the stream_datums of its references that can be resolved."""
        plan = self._plans.get(doc["descriptor"]) or self._plan(doc)
        if plan.is_plain:
            self.emit("event", _without_filled(doc) if "filled" in doc else doc)
            return
        event, references = plan.split(doc, self._remarks)
        self.emit("event", event)
        for reference in references:
            self._emit_all(self._join.reference(reference))

    def event_page(self, doc: Document) -> None:
        """Take an event_page; it stays one for subscribers of pages if all its values are internal."""
        plan = self._plan(doc)
        if plan.external or "event" in self._opened or not self._callbacks.get("event_page"):
            for event in events_of(doc):
                self._take("event", event)
            return
        page = plan.renamed(doc, self._remarks, len(doc["uid"]))
        self.emit("event_page", page)
        if self._event_callbacks:
            for event in events_of(page):
                self._output = ("event", event)
                for callback in self._event_callbacks:
                    callback("event", event)

    def plain_events(self, docs: Sequence[Document]) -> list[Document] | None:
        """Return consecutive events of one descriptor as they are emitted; the fast way for many.

        Nothing is emitted. None where they must be taken one by one: for what their descriptor says, for
        patches and overridden methods, and where one of them lacks what an event must have.
        """
        plan = self._plans.get(docs[0]["descriptor"])
        if plan is None or not plan.is_plain or "event" in self._opened:
            return None
        if type(self).emit is not RunNormalizer.emit or not all(map(_is_event, docs)):
            return None
        return [_without_filled(doc) if "filled" in doc else doc for doc in docs]

    def bulk_events(self, doc: Document) -> None:
        """Take a bulk_events document of old: its events, one by one."""
        for event in events_of_bulk(doc):
            self._take("event", event)

    def resource(self, doc: Document) -> None:
        """Take a resource: keep it as a stream_resource until a datum of it is referred to."""
        spec = str(doc.get("spec") or "").upper()
        normal = apply_rules(self._resource_rules, {**doc, "spec": spec}, self._remarks)
        self._emit_all(self._join.resource(normal, spec))

    def datum(self, doc: Document) -> None:
        """Take a datum: keep it until an event refers to it."""
        self._emit_all(self._join.datum(doc))

    def datum_page(self, doc: Document) -> None:
        """Take a datum_page: its datums, one by one."""
        for datum in datums_of(doc):
            self._take("datum", datum)

    def bulk_datum(self, doc: Document) -> None:
        """Take a bulk_datum document of old: its datums, one by one."""
        for datum in datums_of_bulk(doc):
            self._take("datum", datum)

    def stream_resource(self, doc: Document) -> None:
        """Take a stream_resource, of the current form or of the one before."""
        self.emit("stream_resource", apply_rules(self._resource_rules, doc, self._remarks))

    def stream_datum(self, doc: Document) -> None:
        """Take a stream_datum."""
        self.emit("stream_datum", doc)

    def stop(self, doc: Document) -> None:
        """Take the end of the run; references that nothing resolved stay among the findings."""
        self.emit("stop", doc)

    def _plan(self, doc: Document) -> EventPlan:
        try:
            return self._plans[doc["descriptor"]]
        except KeyError:
            raise DocumentRefused(
                "the document names a descriptor that has not come",
                field="descriptor",
                found=doc["descriptor"],
            ) from None


def _is_event(doc: Document) -> bool:
    """Say whether a document surely has what an event must have."""
    return (
        doc.__class__ is dict
        and doc.keys() >= _EVENT_KEYS
        and doc["data"].__class__ is dict
        and doc["timestamps"].__class__ is dict
    )


def _without_filled(doc: Document) -> Document:
    doc = doc.copy()
    del doc["filled"]
    return doc


def _check_name(name: str, message: str) -> None:
    if name not in DOCUMENT_NAMES:
        raise DocumentRefused(
            message,
            found=name,
            expected=", ".join(sorted(DOCUMENT_NAMES)),
            next_step="give the name of a document",
        )
