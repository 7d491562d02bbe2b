"""The recording side of the writer: one thread that takes documents and keeps the runs apart."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from gapless.bluesky.guarded_run import GuardedRun
from gapless.bluesky.hand_over import HandOver
from gapless.bluesky.late_documents import add_late
from gapless.bluesky.router import RunRouter
from gapless.bluesky.run_feed import Normalizer, RunFeed, Tap
from gapless.bluesky.run_name import run_name
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.sealer import Sealer
from gapless.bluesky.spool import UNROUTED, Spool
from gapless.errors import DocumentRefused, GaplessError

if TYPE_CHECKING:
    from gapless.bluesky.run_report import RunReport
    from gapless.client.client import Client

Doc = Mapping[str, Any]
_AT_ONCE: Final = 1_024
_LATE_IDLE_S: Final = 2.0
_REMEMBERED: Final = 1_000  # reports, errors and ended runs
_CLOSED: Final = "the writer was closed before the run's stop document"
_NO_STOP: Final = "the run's stop document could not be understood"


class Sink(Protocol):
    """A second place for the runs, behind the sequence that is written first."""

    def metadata(self, start: Doc) -> Mapping[str, Any]:
        """Return what the sequence's metadata says of this sink."""

    def open(self, start: Doc, run: RunWriter) -> Tap:
        """Return what gets each normalised document of a run after ``run`` took it, on the recording thread."""

    def sealed(self, sequence: str) -> None:
        """Take note that the run's sequence is sealed."""

    def flush(self, timeout_s: float) -> None:
        """Return when the sink has what it was given, or when it will not have it soon."""

    def close(self, timeout_s: float) -> None:
        """End; nothing comes any more."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How runs are recorded: the pattern of their names, their normalizers, a sink or none."""

    name: str
    make_normalizer: Callable[[], Normalizer | None]
    sink: Sink | None = None


@dataclass(slots=True, eq=False)
class Request:
    """Something the recording thread does between two documents."""

    what: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)


class Recording:
    """Records what comes through a :class:`HandOver`, from its own thread, until :meth:`finish`.

    No error ends the thread: each is told in ``errors``, and its document is in the spool.
    """

    def __init__(
        self,
        client: Client,
        options: RunOptions,
        spool: Spool,
        hand_over: HandOver,
        *,
        group_s: float,
        deadline_s: float,
    ) -> None:
        self.errors: list[BaseException] = []
        self.untold: list[BaseException] = []
        self.reports: OrderedDict[str, RunReport] = OrderedDict()
        self.spool = spool
        self.router = RunRouter([self._factory], on_unroutable=self._unroutable, on_late=self._late)
        self._client = client
        self._options = options
        self._hand_over = hand_over
        self._group_s = group_s
        self._deadline_s = deadline_s
        self._runs: dict[str, GuardedRun] = {}
        self._ended: OrderedDict[str, str | None] = OrderedDict()  # uid -> sequence, None: in the spool
        self._late_documents: dict[str, list[tuple[str, Doc]]] = {}
        self._late_at = 0.0
        self._sealer = Sealer(self.tell)
        self._finishing = False
        self._thread = threading.Thread(target=self._work, name="gapless-bluesky", daemon=True)
        self._thread.start()

    # -- from other threads --------------------------------------------------------------------

    def tell(self, error: BaseException) -> None:
        """Take note of an error; the writer hears of it."""
        self.errors.append(error)
        self.untold.append(error)
        del self.errors[:-_REMEMBERED], self.untold[:-_REMEMBERED]

    def keep(self, name: str, doc: Doc, error: BaseException) -> None:
        """Put a document that cannot be handed over into the spool."""
        self.tell(error)
        self._spooled(self.router.run_of(name, doc) or UNROUTED, name, doc, str(error))

    def flush(self, timeout_s: float) -> bool:
        """Return whether all that was handed over before is durable, in a sequence or in the spool, in time."""
        give_up = time.monotonic() + timeout_s
        request = Request(lambda: self._flush(max(0.0, give_up - time.monotonic())))
        self._hand_over.put_now(request)
        if not request.done.wait(timeout_s):
            return False
        done = self._sealer.wait(max(0.0, give_up - time.monotonic()))
        self._sync_spool()
        return done

    def finish(self) -> None:
        """Let the thread record what is there, seal the open runs and end."""
        if not self._finishing:
            self._finishing = True
            self._hand_over.put_now(Request(self._finish))

    def join(self, timeout_s: float) -> bool:
        """Return whether the thread and what it left to seal ended in time."""
        give_up = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        if self._thread.is_alive() or not self._sealer.wait(max(0.0, give_up - time.monotonic())):
            return False
        self._sealer.end()
        self._sync_spool()
        return True

    # -- the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._finishing or len(self._hand_over):
            try:
                self._turn()
            except BaseException as error:  # noqa: BLE001 - nothing may end this thread but finish()
                self.tell(error)

    def _turn(self) -> None:
        if not self._hand_over.wait(_LATE_IDLE_S if self._late_documents or self._runs else None):
            self._between()
            return
        self._hand_over.gather(self._group_s)
        while items := self._hand_over.take(_AT_ONCE):
            for item in items:
                if isinstance(item, Request):
                    self._answer(item)
                else:
                    self._route(*item)
            self._end_group()
        self._between()

    def _route(self, name: str, doc: Doc) -> None:
        try:
            self.router(name, doc)
        except BaseException as error:  # noqa: BLE001 - of one document: those behind it are routed
            self.keep(name, doc, error)

    def _answer(self, request: Request) -> None:
        try:
            request.what()
        finally:
            request.done.set()

    def _end_group(self) -> None:
        for run in self._runs.values():
            run.end_group()
        self._sync_spool()

    def _between(self) -> None:
        for run in self._runs.values():
            run.end_group()
        if self._late_documents and time.monotonic() - self._late_at >= _LATE_IDLE_S:
            self._write_late()

    def _flush(self, timeout_s: float) -> None:
        for run in self._runs.values():
            run.flush(timeout_s)
        self._write_late()

    def _finish(self) -> None:
        self.router.close()
        for uid in list(self._runs):
            self._end_run(uid, _CLOSED)
        self._write_late()

    def _sync_spool(self) -> None:
        try:
            self.spool.flush()
        except GaplessError as error:
            self.tell(error)

    # -- runs ----------------------------------------------------------------------------------

    def _factory(self, _name: str, start: Doc) -> tuple[list[Callable[[str, Doc], None]], list[Any]]:
        uid = str(start["uid"])
        pattern = self._pattern(start)
        if pattern is None:  # recorded before: what is new in it becomes a layer
            self._end(uid, run_name(self._options.name, start))
            return [lambda name, doc: self._late(uid, name, doc)], []
        run = GuardedRun(start, lambda refuse: self._feed(start, pattern, refuse), self.spool, self.tell)
        self._runs[uid] = run
        return [lambda name, doc: self._take(run, name, doc)], []

    def _pattern(self, start: Doc) -> str | None:
        """Return the pattern of a name that is free, None when the run itself has it."""
        pattern = self._options.name
        try:
            name = run_name(pattern, start)
            if not self._client.sequence_exists(name):
                return pattern
            recorded = self._client.sequence_handler(name).metadata.get("start", {}).get("uid")
        except (GaplessError, OSError, AttributeError) as error:
            self.tell(error)
            return "{uid}"
        return None if recorded == start["uid"] else "{uid}"

    def _feed(self, start: Doc, pattern: str, refuse: Callable[[str, Doc, BaseException], None]) -> RunFeed:
        sink = self._options.sink

        def open_run(normalised: Doc | None, original: Callable[[], Doc | None] | None) -> RunWriter:
            if normalised is None:
                raise DocumentRefused("a run begins with its start document", found=str(start["uid"]))
            metadata = sink.metadata(normalised) if sink is not None else None
            return RunWriter(self._client, normalised, name=pattern, metadata=metadata, original=original)

        tap = None if sink is None else partial(self._open_tap, sink)
        return RunFeed(self._options.make_normalizer, open_run, refuse=refuse, tap=tap)

    def _open_tap(self, sink: Sink, start: Doc, run: RunWriter) -> Tap:
        """Return the sink's callback so that its errors are told and never reach the recording."""
        tap: Tap | None = None

        def call(name: str, doc: Doc) -> None:
            nonlocal tap
            try:
                tap = tap or sink.open(start, run)
                tap(name, doc)
            except BaseException as error:  # noqa: BLE001 - of a sink: the sequence has the document
                self.tell(error)

        return call

    def _take(self, run: GuardedRun, name: str, doc: Doc) -> None:
        run(name, doc)
        if name == "stop":
            self._end_run(run.uid, _NO_STOP)

    def _end_run(self, uid: str, cause: str) -> None:
        run = self._runs.pop(uid)
        run.end_group()
        self._end(uid, None if run.failed else run.sequence)
        self._sealer.put(lambda: self._seal(run, cause))

    def _seal(self, run: GuardedRun, cause: str) -> None:
        run.seal(cause)
        if run.report is not None:
            self.reports[run.uid] = run.report
            while len(self.reports) > _REMEMBERED:
                self.reports.popitem(last=False)
        if run.failed:
            self._ended[run.uid] = None
            self._sync_spool()
        elif self._options.sink is not None and run.sequence is not None:
            self._options.sink.sealed(run.sequence)

    def _end(self, uid: str, sequence: str | None) -> None:
        self._ended[uid] = sequence
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    # -- what comes too late, or belongs nowhere -----------------------------------------------

    def _late(self, uid: str, name: str, doc: Doc) -> None:
        self._late_documents.setdefault(uid, []).append((name, doc))
        self._late_at = time.monotonic()

    def _write_late(self) -> None:
        late, self._late_documents = self._late_documents, {}
        for uid, documents in late.items():
            self._sealer.put(partial(self._add, uid, documents))

    def _add(self, uid: str, documents: list[tuple[str, Doc]]) -> None:
        """Write a run's late documents into a layer; on the sealing thread, so behind its seal."""

        def refuse(name: str, doc: Doc, error: BaseException) -> None:
            self.tell(error)
            self._spooled(uid, name, doc, str(error))

        sequence = self._ended.get(uid)
        if sequence is None:
            self._spool_all(uid, documents, "the run itself is in the spool")
            return
        try:
            add_late(
                self._client,
                sequence,
                documents,
                make_normalizer=self._options.make_normalizer,
                refuse=refuse,
            )
        except BaseException as error:  # noqa: BLE001 - of one run: its documents are kept
            self.tell(error)
            self._spool_all(uid, documents, str(error))

    def _unroutable(self, name: str, doc: Doc, reason: str) -> None:
        error = DocumentRefused(reason, found=f"{name} {doc.get('uid', '')}".strip())
        self.tell(error)
        self._spooled(self.router.run_of(name, doc) or UNROUTED, name, doc, reason)

    def _spooled(self, uid: str, name: str, doc: Doc, reason: str) -> None:
        self._spool_all(uid, [(name, doc)], reason)

    def _spool_all(self, uid: str, documents: list[tuple[str, Doc]], reason: str) -> None:
        try:
            self.spool.keep_all(uid, documents, reason=reason)
        except GaplessError as error:
            self.tell(error)
