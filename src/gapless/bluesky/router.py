"""Documents of several runs at once, each given to the callbacks of its own run."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gapless.bluesky.document import DOCUMENT_NAMES
from gapless.bluesky.lossless import encode
from gapless.errors import DocumentRefused, UsageError

Doc = Mapping[str, Any]
Callback = Callable[[str, Doc], Any]
SubFactory = Callable[[str, Doc], Iterable[Callback]]
Factory = Callable[[str, Doc], tuple[Iterable[Callback], Iterable[SubFactory]]]
OnUnroutable = Callable[[str, Doc, str], None]
OnLate = Callable[[str, str, Doc], None]

_CLOSED_RUNS = 1_000
_LOOSE_RESOURCES = 10_000


@dataclass(slots=True, eq=False)
class _Run:
    """An open run. ``callbacks`` get every document, those of ``streams`` what belongs to one descriptor."""

    start: Doc
    callbacks: list[Callback] = field(default_factory=list)
    subfactories: list[SubFactory] = field(default_factory=list)
    streams: dict[str, list[Callback]] = field(default_factory=dict)  # descriptor uid -> callbacks
    resources: list[str] = field(default_factory=list)
    parked: int = 0

    @property
    def uid(self) -> str:
        return str(self.start["uid"])

    def everyone(self) -> Iterator[Callback]:
        return itertools.chain(self.callbacks, *self.streams.values())


class RunRouter:
    """Gives each document to the callbacks of its run, in any interleaving of runs.

    A factory is called as ``factory("start", doc)`` and returns two lists: callbacks ``(name, doc)`` for every
    document of the run, beginning with this start, and subfactories, which are called as
    ``subfactory("descriptor", doc)`` and return callbacks for start, that descriptor, what refers to it, and stop.

    A document whose run or descriptor has not come is parked and follows when it comes; of more than
    ``max_parked`` the oldest goes to ``on_unroutable(name, doc, reason)``, as does what makes no sense and, at
    :meth:`close`, what never resolved. Without ``on_unroutable`` these raise DocumentRefused. A document of a
    run that has stopped goes to ``on_late(run uid, name, doc)``, else it is unroutable. Exceptions of callbacks
    go to the caller. Use it from one thread.
    """

    def __init__(
        self,
        factories: Iterable[Factory],
        *,
        max_parked: int = 10_000,
        on_unroutable: OnUnroutable | None = None,
        on_late: OnLate | None = None,
    ) -> None:
        if max_parked < 0:
            raise UsageError("the bound of parked documents is not negative", found=str(max_parked))
        self._factories = list(factories)
        self._max_parked = max_parked
        self._on_unroutable = on_unroutable
        self._on_late = on_late
        self._runs: dict[str, _Run] = {}
        self._by_descriptor: dict[str, list[Callback]] = {}
        self._run_of: dict[str, str] = {}  # uid of a descriptor or (stream) resource -> run, of open runs
        self._loose: OrderedDict[str, None] = OrderedDict()  # resources that name no run
        self._closed: OrderedDict[str, tuple[str, list[str]]] = OrderedDict()  # run -> start, uids of it
        self._closed_of: dict[str, str] = {}
        self._parked: dict[str, dict[int, tuple[str, Doc]]] = {}  # by the uid they wait for and a number
        self._parked_order: OrderedDict[int, str] = OrderedDict()
        self.repeated_starts = 0
        self.parked_total = 0
        self._routes: dict[str, Callable[[str, Doc], None]] = {
            "start": self._start,
            "descriptor": self._descriptor,
            "resource": self._resource,
            "stream_resource": self._stream_resource,
            "stop": self._stop,
            "bulk_events": self._bulk_events,
        }

    def __call__(self, name: str, doc: Doc) -> None:
        """Give one document to the callbacks of its run."""
        if name == "event" or name == "event_page":
            try:
                callbacks = self._by_descriptor[doc["descriptor"]]
            except (KeyError, TypeError):
                self._refer(name, doc, "descriptor")
                return
            for callback in callbacks:
                callback(name, doc)
            return
        try:
            route = self._routes.get(name)
            if route is not None:
                route(name, doc)
            elif name == "stream_datum":
                self._refer(name, doc, "stream_resource")
            elif name in DOCUMENT_NAMES:
                self._refer(name, doc, "resource")
            else:
                self._refuse(name, doc, f"there is no document of the name {name!r}")
        except _Incomplete as problem:
            self._refuse(name, doc, str(problem))

    # -- what is known -------------------------------------------------------------------------

    @property
    def open_runs(self) -> list[str]:
        """The uids of the runs that have started and not stopped, oldest first."""
        return list(self._runs)

    @property
    def parked(self) -> int:
        """How many documents wait for another one."""
        return len(self._parked_order)

    def parked_of(self, run: str) -> int:
        """Return how many documents of an open run had to wait for another one."""
        return self._runs[run].parked

    def parked_since(self, total: int) -> list[tuple[str, Doc]]:
        """Return those that wait still, of the documents parked since ``parked_total`` was ``total``."""
        newest = itertools.takewhile(lambda number: number > total, reversed(self._parked_order))
        return [self._parked[self._parked_order[number]][number] for number in newest][::-1]

    def resume(self, start: Doc) -> None:
        """Open a run whose start came long before; its callbacks get what follows."""
        uid = _uid(start, "uid")
        if uid not in self._runs and uid not in self._closed:
            self._made(start)
            self._release(uid)

    def know(self, run: str, uids: Iterable[str]) -> None:
        """Let documents refer to descriptors and resources of an open run that came long before."""
        opened = self._runs.get(run)
        if opened is None:
            return
        for uid in uids:
            if uid not in self._run_of:
                self._run_of[uid] = run
                opened.resources.append(uid)
                self._release(uid)

    def run_of(self, name: str, doc: Doc) -> str | None:
        """Return the uid of the run that a document belongs to, as far as it is known. Usable from any thread."""
        for key in ("run_start", "descriptor", "stream_resource", "resource"):
            uid = doc.get(key)
            if isinstance(uid, str):
                run = uid if key == "run_start" else self._run_of.get(uid) or self._closed_of.get(uid)
                if run is not None:
                    return run
        uid = doc.get("uid")
        return uid if name == "start" and isinstance(uid, str) else None

    def close(self) -> None:
        """Give up on parked documents: each goes to ``on_unroutable``."""
        while self._parked_order:
            self._unpark_oldest("what it refers to never came")

    # -- routes --------------------------------------------------------------------------------

    def _start(self, name: str, doc: Doc) -> None:
        uid = _uid(doc, "uid")
        known = self._runs.get(uid)
        before = encode(known.start) if known is not None else self._closed.get(uid, (None,))[0]
        if before is not None:
            if before == encode(doc):
                self.repeated_starts += 1
                return
            self._refuse(name, doc, "another start document has the same uid")
            return
        for callback in self._made(doc).callbacks:
            callback("start", doc)
        self._release(uid)

    def _made(self, start: Doc) -> _Run:
        run = _Run(start)
        for factory in self._factories:
            callbacks, subfactories = factory("start", start)
            run.callbacks += callbacks
            run.subfactories += subfactories
        self._runs[run.uid] = run
        return run

    def _descriptor(self, name: str, doc: Doc) -> None:
        run = self._run(name, doc, _uid(doc, "run_start"))
        if run is None:
            return
        uid = _uid(doc, "uid")
        for callback in run.callbacks:
            callback("descriptor", doc)
        if uid not in run.streams:
            run.streams[uid] = added = []
            self._run_of[uid] = run.uid
            self._by_descriptor[uid] = list(run.callbacks)
            for subfactory in run.subfactories:
                for callback in subfactory("descriptor", doc):
                    callback("start", run.start)
                    callback("descriptor", doc)
                    added.append(callback)
                    self._by_descriptor[uid].append(callback)
        self._release(uid)

    def _stream_resource(self, name: str, doc: Doc) -> None:
        start = doc.get("run_start")
        if isinstance(start, str) and start:
            self._own_resource(name, doc, start)
        elif len(self._runs) == 1:  # the oldest form of it names no run
            self._own_resource(name, doc, next(iter(self._runs)))
        else:
            self._refuse(name, doc, "the stream_resource names no run, and not just one is open")

    def _resource(self, name: str, doc: Doc) -> None:
        start = doc.get("run_start")
        if isinstance(start, str) and start:
            self._own_resource(name, doc, start)
        elif len(self._runs) == 1:
            self._own_resource(name, doc, next(iter(self._runs)))
        else:
            self._fan_out_resource(name, doc)

    def _own_resource(self, name: str, doc: Doc, start: str) -> None:
        run = self._run(name, doc, start)
        if run is None:
            return
        uid = _uid(doc, "uid")
        self._run_of[uid] = run.uid
        run.resources.append(uid)
        for callback in run.everyone():
            callback(name, doc)
        self._release(uid)

    def _fan_out_resource(self, name: str, doc: Doc) -> None:
        """Give a resource that names no run to every open run; to no run means to wait for the next."""
        uid = _uid(doc, "uid")
        if not self._runs:
            self._park(name, doc, "")
            return
        self._loose[uid] = None
        if len(self._loose) > _LOOSE_RESOURCES:
            self._loose.popitem(last=False)
        self._give_all(name, doc)
        self._release(uid)

    def _give_all(self, name: str, doc: Doc) -> None:
        for run in self._runs.values():
            for callback in run.everyone():
                callback(name, doc)

    def _refer(self, name: str, doc: Doc, key: str) -> None:
        """Give a document to the run of what it refers to under ``key``."""
        try:
            uid = _uid(doc, key)
        except _Incomplete as problem:
            self._refuse(name, doc, str(problem))
            return
        run = self._runs.get(self._run_of.get(uid, ""))
        if run is not None:
            for callback in run.everyone():
                callback(name, doc)
        elif uid in self._closed_of:
            self._late(self._closed_of[uid], name, doc)
        elif key == "resource" and uid in self._loose and self._runs:
            self._give_all(name, doc)
        else:
            self._park(name, doc, uid)

    def _bulk_events(self, name: str, doc: Doc) -> None:
        """Split the oldest form of many events, which may be of several descriptors, where runs differ."""
        owners: dict[str, dict[str, list[Doc]]] = {}
        for stream, events in doc.items():
            if not isinstance(events, list | tuple):
                raise _Incomplete(f"{stream!r} is no list of events")
            for event in events:
                _uid(event, "descriptor")
                owner = self.run_of("event", event) or f"?{event['descriptor']}"
                owners.setdefault(owner, {}).setdefault(stream, []).append(event)
        for owner, part in owners.items():
            run = self._runs.get(owner)
            if run is not None:
                for callback in run.callbacks:
                    callback(name, part)
                self._bulk_to_streams(run, part)
            else:
                for event in itertools.chain(*part.values()):
                    self("event", event)

    @staticmethod
    def _bulk_to_streams(run: _Run, part: Mapping[str, list[Doc]]) -> None:
        for event in itertools.chain(*part.values()):
            for callback in run.streams.get(event["descriptor"], ()):
                callback("event", event)

    def _stop(self, name: str, doc: Doc) -> None:
        run = self._run(name, doc, _uid(doc, "run_start"))
        if run is None:
            return
        try:
            for callback in run.everyone():
                callback("stop", doc)
        finally:
            self._forget(run)

    def _forget(self, run: _Run) -> None:
        uids = (*run.streams, *run.resources)
        for uid in uids:
            self._run_of.pop(uid, None)
            self._by_descriptor.pop(uid, None)
        del self._runs[run.uid]
        if not self._runs:
            self._loose.clear()
        self._closed[run.uid] = (encode(run.start), [*uids])
        self._closed_of.update(dict.fromkeys(uids, run.uid))
        if len(self._closed) > _CLOSED_RUNS:
            _, (_, forgotten) = self._closed.popitem(last=False)
            for uid in forgotten:
                self._closed_of.pop(uid, None)

    def _run(self, name: str, doc: Doc, start: str) -> _Run | None:
        """Return the open run, or park or hand on the document and return None."""
        run = self._runs.get(start)
        if run is None:
            if start in self._closed:
                self._late(start, name, doc)
            else:
                self._park(name, doc, start)
        return run

    # -- what has no run yet, none any more, or never had one ------------------------------------

    def _late(self, run: str, name: str, doc: Doc) -> None:
        if self._on_late is not None:
            self._on_late(run, name, doc)
        else:
            self._refuse(name, doc, "its run has stopped")
        uid = doc.get("uid")
        if name in ("descriptor", "resource", "stream_resource") and isinstance(uid, str):
            self._remember_late(run, uid)
            self._release(uid)

    def _remember_late(self, run: str, uid: str) -> None:
        """Let what refers to a late descriptor or resource be late as well."""
        if self._closed_of.get(uid) != run:
            self._closed[run][1].append(uid)
            self._closed_of[uid] = run

    def _park(self, name: str, doc: Doc, waits_for: str) -> None:
        if self._max_parked == 0:
            self._refuse(name, doc, "what it refers to has not come")
            return
        if len(self._parked_order) >= self._max_parked:
            self._unpark_oldest("too many documents wait for what has not come")
        self.parked_total += 1
        self._parked.setdefault(waits_for, {})[self.parked_total] = (name, doc)
        self._parked_order[self.parked_total] = waits_for

    def _unpark_oldest(self, reason: str) -> None:
        number, waits_for = self._parked_order.popitem(last=False)
        waiting = self._parked[waits_for]
        name, doc = waiting.pop(number)
        if not waiting:
            del self._parked[waits_for]
        self._refuse(name, doc, reason)

    def _release(self, uid: str) -> None:
        """Route what waited for this uid, or for any run."""
        for waits_for in (uid, "") if self._parked else ():
            waiting = self._parked.pop(waits_for, {})
            for number in waiting:
                del self._parked_order[number]
            for name, doc in sorted(waiting.values(), key=_stop_last):
                run = self._runs.get(self.run_of(name, doc) or "")
                if run is not None:
                    run.parked += 1
                self(name, doc)

    def _refuse(self, name: str, doc: Doc, reason: str) -> None:
        if self._on_unroutable is None:
            raise DocumentRefused(reason, found=f"{name} {doc.get('uid', '')}".strip())
        self._on_unroutable(name, doc, reason)


class _Incomplete(Exception):
    """A document lacks the key by which it is routed."""


def _uid(doc: Doc, key: str) -> str:
    uid = doc.get(key) if isinstance(doc, Mapping) else None
    if not isinstance(uid, str) or not uid:
        raise _Incomplete(f"the document has no {key!r}")
    return uid


def _stop_last(parked: tuple[str, Doc]) -> bool:
    return parked[0] == "stop"
