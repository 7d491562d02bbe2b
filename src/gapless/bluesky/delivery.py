"""Delivering documents that wait in files: each run of them into the store, exactly once by its uid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.backup_files import PlacedDocument, TornLine, backup_files, read_backup
from gapless.bluesky.delivery_report import DeliveredRun, Delivery
from gapless.bluesky.late_documents import find_run, known_uids, recorded_documents, recorded_headers
from gapless.bluesky.normalizer_words import maker_of
from gapless.bluesky.router import RunRouter
from gapless.bluesky.run_destination import CountedRun, Destination, KnownRun, NewRun, Target
from gapless.bluesky.run_feed import Normalizer
from gapless.bluesky.run_name import check_pattern, run_name
from gapless.bluesky.run_writer import original_uid
from gapless.bluesky.spool import DELIVERED, Spool
from gapless.errors import DocumentRefused, NameRefused, SequenceOwned
from gapless.model.names import name_of
from gapless.store.platform import PLATFORM

if TYPE_CHECKING:
    from gapless.bluesky.spooled_run import RunDocuments
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler

Doc = Mapping[str, Any]

_PARKED: Final = 1_000_000  # documents that wait for what may stand further down
_LEFT_BEHIND: Final = frozenset(("B102", "B103", "B104", "B107"))  # after these the file is not done
_OF_ITS_OWN: Final = (
    "was recorded with patches or a normalizer of its own; deliver it from Python with make_normalizer="
)


def deliver(
    source: str | Path,
    client: Client,
    *,
    name: str = "{uid}",
    make_normalizer: Callable[[], Normalizer | None] | None = None,
    send: Callable[[SequenceHandler], object] | None = None,
    dry_run: bool = False,
    move: bool = True,
    awaited: Mapping[str, RunDocuments] = MappingProxyType({}),
) -> Delivery:
    """Record the documents of a spool or of backup files; those that the store has are passed over.

    ``source``: a file of JSON lines, a folder of them, or a store, whose spool it is. A run that the store does
    not have becomes a sequence, named by the pattern ``name``; of one that it has, what is missing becomes one
    layer. One that was recorded with patches or a normalizer of its own is left as it is, unless
    ``make_normalizer`` makes such a one for each run. ``send`` is then called with each run's sequence, to hand it
    on to a server; what it raises ends the delivery. A file of which every document was delivered moves to the
    folder ``delivered`` beside it, unless ``move`` is off. Delivering again changes nothing. A dry run takes the
    runs of ``awaited``, by uid, for runs that the store has. Raises NotFound, ImportRefused and what the client
    raises.
    """
    sizes = _sizes(backup_files(Path(source)))
    report = Delivery(dry_run=dry_run)
    target = Target(client, check_pattern(name), make_normalizer)
    passage = _Passage(target, report, awaited)
    for path in sizes:
        passage.take_file(path)
    passage.end()
    if dry_run:
        return report
    if send is not None:
        for run in report.runs:
            send(client.sequence_handler(run.sequence))
    if move:
        held = passage.held | {finding.file for finding in report.findings if finding.code in _LEFT_BEHIND}
        if "" not in held:  # a document that does not know its file, such as one out of a bulk
            _move([path for path in sizes if str(path) not in held], sizes, report)
    return report


def deliver_documents(
    documents: Iterable[tuple[str, Doc]],
    client: Client,
    *,
    name: str = "{uid}",
    make_normalizer: Callable[[], Normalizer | None] | None = None,
) -> Delivery:
    """Record documents from anywhere else, such as another server, which may give its events uids of its own.

    So a run that the store has is left as it is.
    """
    report = Delivery()
    target = Target(client, check_pattern(name), make_normalizer, completes=False)
    passage = _Passage(target, report)
    for document in documents:
        passage.take(document)
    passage.end()
    return report


class _Passage:
    """Routes documents to a new sequence or to a layer, run by run, and writes down what became of them."""

    def __init__(
        self, target: Target, report: Delivery, awaited: Mapping[str, RunDocuments] = MappingProxyType({})
    ) -> None:
        self._target = target
        self._report = report
        self._awaited = awaited
        self._router = RunRouter(
            [self._factory], max_parked=_PARKED, on_unroutable=self._unroutable, on_late=self._late
        )
        self._open: dict[str, Destination] = {}
        self._counted: dict[str, CountedRun] = {}  # that have ended; more may come behind their stops
        self._late_documents: dict[str, list[tuple[str, Doc]]] = {}
        self._file: Path | None = None  # whose documents come
        self.held: set[str] = set()  # files with documents of a run that is left as it is

    def take_file(self, path: Path) -> None:
        """Take the documents of a file; one that was moved away meanwhile has been delivered."""
        self._file = path
        try:
            for place, found in enumerate(read_backup(path)):
                if place == 0:
                    self._begin_file(path, found)
                self.take(found)
        except FileNotFoundError:
            self._report.find("B104", path, "the file was moved away meanwhile")

    def _begin_file(self, path: Path, first: tuple[str, Doc] | TornLine) -> None:
        """Let documents refer to a run of the store whose uid the file has for a name, though it has no start."""
        uid = name_of(path.stem)
        if uid is None or (not isinstance(first, TornLine) and first[0] == "start"):
            return
        headers = self._recorded_headers(uid)
        if headers and headers[0][0] == "start":
            self._router.resume(headers[0][1])
            self._know(uid, headers)

    def _recorded_headers(self, uid: str) -> list[tuple[str, Doc]]:
        if uid in self._awaited:
            return self._awaited[uid].headers
        sequence = find_run(self._target.client, uid)
        return [] if sequence is None else recorded_headers(self._target.client.sequence_handler(sequence))

    def _know(self, uid: str, headers: list[tuple[str, Doc]]) -> None:
        """Tell the router what the store holds of a run, so that documents find it."""
        self._router.know(uid, [str(doc.get("uid")) for name, doc in headers if name != "start"])

    def take(self, found: tuple[str, Doc] | TornLine) -> None:
        try:
            if isinstance(found, TornLine):
                self._report.find("B101", found, found.reason)
            else:
                self._router(*found)
                destination = self._open.get(str(found[1].get("uid"))) if found[0] == "start" else None
                if destination is not None and destination.run.result != "recorded":
                    self._know(destination.run.uid, self._recorded_headers(destination.run.uid))
        except NameRefused as error:  # of a run whose uid no sequence can have
            if isinstance(found, TornLine):
                raise
            self._report.refuse(*found, error)
        except BaseException as error:
            self._abandon(error)
            raise

    def end(self) -> None:
        try:
            self._router.close()
            for uid in list(self._open):
                self._end(uid)
            for uid, documents in self._late_documents.items():
                self._add_late(uid, documents)
        except BaseException as error:
            self._abandon(error)
            raise

    def _abandon(self, error: BaseException) -> None:
        for destination in self._open.values():
            destination.abandon(error)
        self._open.clear()

    def _factory(self, _name: str, start: Doc) -> tuple[list[Callable[[str, Doc], None]], list[Any]]:
        uid = str(start["uid"])
        self._open[uid] = destination = self._destination(uid, start)

        def callback(name: str, doc: Doc) -> None:
            self._take_for(destination, name, doc)
            if name == "stop":
                self._end(uid)

        return [callback], []

    def _take_for(self, destination: Destination, name: str, doc: Doc) -> None:
        destination.take(name, doc)
        if isinstance(destination, CountedRun) and destination.held:
            self.held.add(str(getattr(doc, "file", "")))

    def _end(self, uid: str) -> None:
        destination = self._open[uid]
        destination.end()
        del self._open[uid]
        if isinstance(destination, CountedRun):
            self._counted[uid] = destination
        self._report.runs.append(destination.run)
        if self._report.dry_run and (destination.run.result, destination.run.stop) == ("recorded", "missing"):
            self._report.find("B105", {}, f"{destination.run.sequence} is sealed as interrupted")

    def _destination(self, uid: str, start: Doc) -> Destination:
        client, pattern = self._target.client, self._target.name
        if uid in self._awaited:
            return _awaited(self._awaited[uid])
        sequence = find_run(client, uid)
        if sequence is not None:
            return self._known(DeliveredRun(uid, sequence, "complete"), start)
        name = run_name(pattern, start)
        if client.sequence_exists(name):  # of another run
            pattern, name = "{uid}", uid
        run = DeliveredRun(uid, name, "recorded")
        if self._report.dry_run:
            return CountedRun(run, lambda _doc: False)
        return NewRun(run, self._target, pattern, self._report)

    def _known(self, run: DeliveredRun, start: Doc) -> Destination:
        client = self._target.client
        handler = client.sequence_handler(run.sequence)
        run.stop = "store" if _has_stop(handler) else "missing"
        if handler.state == "open" and handler.owner_alive:
            return self._being_recorded(run, start)
        if not self._target.completes:
            return CountedRun(run, lambda _doc: True)
        make_normalizer = self._maker_for(handler)
        if make_normalizer is None:
            return self._held(run, "refused", "B107", start, f"{run.sequence} {_OF_ITS_OWN}")
        if self._report.dry_run:
            return _counted(run, known_uids(handler))
        try:
            if handler.state != "sealed" or handler.unsealed_layers:
                client.seal(run.sequence)
        except SequenceOwned:  # somebody writes a layer
            return self._being_recorded(run, start)
        return KnownRun(run, client, make_normalizer, self._report)

    def _maker_for(self, handler: SequenceHandler) -> Callable[[], Normalizer | None] | None:
        return self._target.make_normalizer or maker_of(handler.metadata)

    def _being_recorded(self, run: DeliveredRun, start: Doc) -> CountedRun:
        return self._held(run, "open", "B104", start, f"{run.sequence} is being recorded by a live process")

    def _held(self, run: DeliveredRun, result: str, code: str, place: Doc, message: str) -> CountedRun:
        """Leave a run as it is, and its documents where they are."""
        run.result = result
        self._report.find(code, place if isinstance(place, PlacedDocument) else self._file, message)
        return CountedRun(run, lambda _doc: False, held=True)

    def _late(self, uid: str, name: str, doc: Doc) -> None:
        self._late_documents.setdefault(uid, []).append((name, doc))

    def _add_late(self, uid: str, documents: list[tuple[str, Doc]]) -> None:
        """Add what came behind a run's stop; the run was recorded or completed a moment ago."""
        run = next(run for run in self._report.runs if run.uid == uid)
        if uid in self._counted:
            for name, doc in documents:
                self._take_for(self._counted[uid], name, doc)
            return
        if run.result == "refused":
            for name, doc in documents:
                self._report.refuse(name, doc, DocumentRefused("the start of its run was refused", found=uid))
            return
        make_normalizer = self._maker_for(self._target.client.sequence_handler(run.sequence))
        assert make_normalizer is not None  # else the run is among those that are counted
        destination = KnownRun(run, self._target.client, make_normalizer, self._report)
        self._open[uid] = destination
        for name, doc in documents:
            destination.take(name, doc)
        destination.end()
        del self._open[uid]

    def _unroutable(self, name: str, doc: Doc, reason: str) -> None:
        code = "B103" if reason.startswith(("what it refers", "too many")) else "B102"
        self._report.find(code, doc, f"{name}: {reason}")


def _awaited(documents: RunDocuments) -> CountedRun:
    stop = "store" if documents.has_stop else "missing"
    return _counted(DeliveredRun(documents.uid, documents.sequence, "complete", stop=stop), documents.known)


def _counted(run: DeliveredRun, known: set[str]) -> CountedRun:
    return CountedRun(run, lambda doc: original_uid(doc) in known or _has_all(doc, known))


def _has_all(page: Doc, known: set[str]) -> bool:
    uids = page.get("uid")
    return isinstance(uids, list) and known.issuperset(map(str, uids))


def _has_stop(handler: SequenceHandler) -> bool:
    return "stop" in handler.metadata or any(True for _ in recorded_documents(handler, ["stop"]))


def _sizes(files: Iterable[Path]) -> dict[Path, int]:
    """Return the size of each file that is there still."""
    sizes = {}
    for path in files:
        try:
            sizes[path] = path.stat().st_size
        except FileNotFoundError:  # another delivery was faster
            sizes.pop(path, None)
    return sizes


def _move(files: Sequence[Path], sizes: Mapping[Path, int], report: Delivery) -> None:
    """Put files that were delivered into ``delivered`` beside them, but for those that have grown meanwhile."""
    for path in files:
        with Spool(path.parent).locked():
            if not path.exists():  # another delivery was faster
                continue
            if path.stat().st_size != sizes[path]:
                report.find("B104", path, "documents were added to the file meanwhile")
                continue
            target = _free_path(path.parent / DELIVERED / path.name)
            target.parent.mkdir(exist_ok=True)
            PLATFORM.replace(path, target)
            PLATFORM.sync_directory(target.parent)
            PLATFORM.sync_directory(path.parent)
            report.moved.append(str(target))


def _free_path(path: Path) -> Path:
    number, free = 2, path
    while free.exists():
        free = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return free
