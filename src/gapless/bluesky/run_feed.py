"""One run's documents on their way: through its normalizer, in batches, into its sequence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from gapless.bluesky.normalizer_words import metadata_of
from gapless.bluesky.run_writer import original_uid
from gapless.errors import (
    DocumentRefused,
    GaplessError,
    RecordingFailed,
    ServingFailed,
    StateError,
    WriterClosed,
    WrongProcess,
    WrongThread,
)

if TYPE_CHECKING:
    from gapless.bluesky.legacy_datum import RecordedFrames
    from gapless.bluesky.legacy_event import Reference
    from gapless.bluesky.run_writer import RunWriter

Doc = Mapping[str, Any]
Refuse = Callable[[str, Doc, BaseException], None]
Tap = Callable[[str, Doc], Any]

#: After these no document of the run can be recorded any more.
FATAL: Final = (RecordingFailed, ServingFailed, StateError, WriterClosed, WrongThread, WrongProcess)
#: What a document that is not as it should be raises on its way into columns.
_ODD: Final = (
    GaplessError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)
_BATCHED: Final = {"event": "events", "stream_datum": "stream_datums"}
_LEGACY: Final = frozenset(("resource", "datum", "datum_page", "bulk_datum"))


class Normalizer(Protocol):
    """What the writer needs of a normalizer: take documents and give modern ones to subscribers."""

    def __call__(self, name: str, doc: Any) -> Any:
        """Take a document of the one run it is for."""

    def subscribe(self, func: Callable[[str, Any], Any]) -> Any:
        """Let ``func`` be called with each document that results."""


class OpenRun(Protocol):
    """Opens the sequence, or the layer, of a run when its first document is to be written."""

    def __call__(self, start: Doc | None, original: Callable[[], Doc | None] | None, /) -> RunWriter:
        """Return its writer. ``original`` tells what the document being written was made from."""


class RunFeed:
    """Takes the documents of one run as they come and writes what its normalizer makes of them.

    Consecutive events of one descriptor are written together. A document that cannot be written goes to
    ``refuse(name, document as it came, error)`` and the others go on; an error after which nothing can be
    written (:data:`FATAL`) is raised. Documents whose uid is in ``known`` are passed over and counted in
    ``repeated``, legacy documents in ``originals`` are not kept again, and of a run that ``has_stop`` another stop
    is refused. ``tap`` gets each normalised document after it was taken.
    """

    def __init__(
        self,
        make_normalizer: Callable[[], Normalizer | None],
        open_run: OpenRun,
        *,
        refuse: Refuse,
        known: Collection[str] = frozenset(),
        originals: Collection[str] = frozenset(),
        has_stop: bool = False,
        tap: Callable[[Doc, RunWriter], Tap] | None = None,
    ) -> None:
        self.run: RunWriter | None = None
        self.stopped = False
        self.repeated = 0
        self._open_run = open_run
        self._refuse = refuse
        self._known = known
        self._originals = originals
        self._has_stop = has_stop
        self._open_tap = tap
        self._tap: Tap | None = None
        self._make_normalizer = make_normalizer
        self._normalizer: Normalizer | None = None
        self._normalize: Callable[[str, Doc], Any] | None = None
        self._origin: tuple[str, Doc] = ("", {})
        self._batch: list[Doc] = []
        self._origins: list[tuple[str, Doc]] = []
        self._batch_of: tuple[str, Any] = ("", None)
        self._resumed: set[Reference] = set()

    def _begin(self) -> Callable[[str, Doc], Any]:
        """Make the normalizer and subscribe to it; without one, documents are written as they come."""
        self._normalizer = normalizer = self._make_normalizer()
        if normalizer is None:
            return self._emitted
        takes_pages = hasattr(normalizer, "changed_from") and not self._known
        options: dict[str, Any] = {"pages": True} if takes_pages else {}
        normalizer.subscribe(self._emitted, **options)
        return normalizer

    def __call__(self, name: str, doc: Doc) -> None:
        """Take one document as it came."""
        self._origin = (name, doc)
        if self._normalize is None:
            self._normalize = self._begin()
        try:
            self._normalize(name, doc)
            if name in _LEGACY:
                self._keep_original(name, doc)
        except FATAL:
            raise
        except BaseException as error:  # a patch of the user may raise anything
            if not isinstance(error, Exception):
                raise
            self._refuse(name, doc, error)

    def events(self, documents: Sequence[tuple[str, Doc]]) -> None:
        """Take consecutive events of one descriptor as they came; the fast way for many."""
        plain_events = getattr(self._normalizer, "plain_events", None)
        normal = None if plain_events is None or self._known else plain_events([doc for _, doc in documents])
        if normal is None:
            for name, doc in documents:
                self(name, doc)
            return
        self._gather_for("event", documents[0][1]["descriptor"])
        self._batch += normal
        self._origins += documents

    def resume(self, references: Iterable[Reference]) -> None:
        """Take references to datums that events in the store left behind, once their descriptors have come."""
        resume = getattr(self._normalizer, "resume", None)
        if resume is not None:
            self._resumed.update(references)
            resume(sorted(self._resumed, key=lambda reference: reference.seq_num))

    def recall(self, resources: Iterable[Doc], frames: Iterable[RecordedFrames]) -> None:
        """Take what was made of datums that have come, so that what comes now goes on from there."""
        recall = getattr(self._normalizer, "recall", None)
        if recall is not None:
            recall(resources, frames, self._known)

    @property
    def normalizer_words(self) -> dict[str, Any]:
        """What the run's metadata says of its normalizer, once the first document came; nothing of the usual one."""
        return metadata_of(self._normalizer)

    def _gather_for(self, kind: str, descriptor: Any) -> None:
        """Write what was gathered unless it is of this kind and descriptor."""
        key = (kind, descriptor)
        if key != self._batch_of:
            self.flush()
            self._batch_of = key

    def flush(self) -> None:
        """Write the events that were gathered."""
        batch, origins, (kind, _) = self._batch, self._origins, self._batch_of
        if not batch:
            return
        self._batch, self._origins, self._batch_of = [], [], ("", None)
        try:
            self._write_batch(kind, batch)
        except FATAL:
            raise
        except _ODD as error:
            if len(batch) == 1:
                self._refuse(*origins[0], error)
            else:
                self._write_apart(kind, batch, origins, error)

    def finish(self) -> None:
        """Write what was gathered, references that nothing resolved, and what the normalizer did."""
        self.flush()
        if self.run is None or self._normalizer is None:
            return
        unresolved = dict.fromkeys(getattr(self._normalizer, "unresolved", ()))
        for reference in [each for each in unresolved if each not in self._resumed]:
            self.run.unresolved(
                reference.stream,
                str(reference.event),
                reference.seq_num,
                reference.data_key,
                reference.datum_id,
            )
        self.run.report.learn(self._normalizer)

    # -- from the normalizer -------------------------------------------------------------------

    def _emitted(self, name: str, doc: Doc) -> None:
        if self._known and _identity(doc) in self._known:
            self.repeated += 1
            return
        if name in _BATCHED:
            self._gather_for(name, doc["descriptor"])
            self._batch.append(doc)
            self._origins.append(self._origin)
            return
        self.flush()
        self._write(name, doc)
        if self._tap is not None:
            self._tap(name, doc)

    def _write(self, name: str, doc: Doc) -> None:
        if name == "start":
            self._opened(doc)
        elif name == "stop":
            if self._has_stop:
                raise DocumentRefused(
                    "another stop document of the run has come before", found=str(doc["uid"])
                )
            self._opened().stop(doc)
            self.stopped = self._has_stop = True
        else:
            self._opened()(name, doc)

    def _opened(self, start: Doc | None = None) -> RunWriter:
        if self.run is None:
            self.run = self._open_run(start, getattr(self._normalizer, "changed_from", None))
            if self._open_tap is not None and start is not None:
                self._tap = self._open_tap(start, self.run)
        return self.run

    def _write_batch(self, kind: str, batch: list[Doc]) -> None:
        run = self._opened()
        if kind == "event":
            run.events(batch[0]["descriptor"], batch)
        else:
            run.stream_datums(batch)
        if self._tap is not None:
            for doc in batch:
                self._tap(kind, doc)

    def _write_apart(
        self, kind: str, batch: list[Doc], origins: list[tuple[str, Doc]], reason: BaseException
    ) -> None:
        """Write the documents of a refused batch one by one; those that leave no row are refused."""
        for doc, origin in zip(batch, origins, strict=True):
            before = self._rows()
            try:
                self._write_batch(kind, [doc])
            except FATAL:
                raise
            except _ODD as error:
                self._refuse(*origin, error)
            else:
                if self._rows() == before:
                    self._refuse(*origin, reason)

    def _rows(self) -> int:
        assert self.run is not None
        return sum(stream.rows + stream.external_rows for stream in self.run.report.streams.values())

    def _keep_original(self, name: str, doc: Doc) -> None:
        identity = original_uid(doc)
        if identity not in self._originals if identity else not self._known:
            self._opened().keep_original(name, doc)


def _identity(doc: Doc) -> str | None:
    uid = doc.get("uid") or doc.get("datum_id")
    return uid if isinstance(uid, str) else None
