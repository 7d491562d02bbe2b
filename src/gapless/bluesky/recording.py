"""The recording side of the writer: one thread that takes documents and keeps the runs apart."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

from gapless.bluesky.guarded_run import GuardedRun
from gapless.bluesky.hand_over import HandOver
from gapless.bluesky.known_runs import KnownRuns
from gapless.bluesky.late_runs import IDLE_S, LateRuns
from gapless.bluesky.parked_file import ParkedFile
from gapless.bluesky.router import RunRouter
from gapless.bluesky.run_failure import failure_of, said_by
from gapless.bluesky.run_feed import Normalizer, RunFeed, Tap
from gapless.bluesky.run_name import run_name
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.sealer import Sealer
from gapless.bluesky.spool import UNROUTED, Spool
from gapless.errors import BackupFailed, DocumentRefused, GaplessError, WriterClosed

if TYPE_CHECKING:
    from gapless.bluesky.run_report import RunReport
    from gapless.client.client import Client

Doc = Mapping[str, Any]
_AT_ONCE: Final = 1_024
_REMEMBERED: Final = 1_000  # reports and errors
_ANNOUNCED: Final = 100_000
_MOST_OVERFLOWING: Final = 10_000
_CLOSED: Final = "the writer was closed before the run's stop document"
_NO_STOP: Final = "the run's stop document could not be understood"


class Hear(Protocol):
    """Takes an error, the uid of its run, and whether what failed is tried again."""

    def __call__(self, error: BaseException, run: str | None = None, *, retried: bool = False) -> None:
        """Take it."""


class Sink(Protocol):
    """A second place for the runs, behind the sequence that is written first."""

    def metadata(self, start: Doc) -> Mapping[str, Any]:
        """Return what the sequence's metadata says of this sink."""

    def open(self, start: Doc, run: RunWriter) -> Tap:
        """Return what gets each normalised document of a run after ``run`` took it, on the recording thread."""

    def sealed(self, sequence: str) -> None:
        """Take note that the run's sequence is sealed."""

    def listen(self, hear: Hear) -> None:
        """Tell every error from now on, and those before, to whom the caller names."""

    def flush(self, timeout_s: float) -> None:
        """Return when the sink has what it was given, or when it will not have it soon."""

    def close(self, timeout_s: float) -> None:
        """End; nothing comes any more. What went wrong is told, not raised."""

    def warn(self) -> None:
        """Warn of the runs that :meth:`close` left behind, if there are any."""


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
        self.errors: list[GaplessError] = []
        self.untold: list[GaplessError] = []
        self.reports: OrderedDict[str, RunReport] = OrderedDict()
        self.spool = spool
        self.router = RunRouter([self._factory], on_unroutable=self._unroutable, on_late=self._late)
        self._client = client
        self._options = options
        self._hand_over = hand_over
        self._group_s = group_s
        self._deadline_s = deadline_s
        self._known = KnownRuns(client, self.tell)
        self._runs: dict[str, GuardedRun] = {}
        self._announced: OrderedDict[str, str] = OrderedDict()  # uid of a descriptor or resource -> run
        self._kept: Counter[str] = Counter()  # documents of each run that went to the spool past it
        self._lock = threading.Lock()  # of what threads of the experiment change as well
        self._sealer = Sealer(self.tell)
        self._overflow = Sealer(self.tell, name="gapless-bluesky-spool")
        self._late_runs = LateRuns(client, options.make_normalizer, spool, self._sealer, self.tell)
        self._parked = ParkedFile(self.router, spool, self.tell)
        self._speaks_last = False
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="gapless-bluesky", daemon=True)
        self._thread.start()

    # -- from other threads --------------------------------------------------------------------

    def tell(self, error: BaseException, run: str | None = None, *, retried: bool = False) -> None:
        """Take note of an error, with the uid of its run; one of what is ``retried`` is not raised."""
        failure = failure_of(error, None if run == UNROUTED else run)
        with self._lock:
            self.errors.append(failure)
            if not retried:
                self.untold.append(failure)
            del self.errors[:-_REMEMBERED], self.untold[:-_REMEMBERED]

    def heard(self, errors: Iterable[BaseException]) -> None:
        """Take note that these errors were told."""
        with self._lock:
            told = set(map(id, errors))
            self.untold[:] = [error for error in self.untold if id(error) not in told]

    def announce(self, doc: Doc) -> None:
        """Take note of which run a document is that others refer to, ahead of its turn."""
        uid, run = doc.get("uid"), doc.get("run_start")
        if isinstance(uid, str) and isinstance(run, str):
            self._announced[uid] = run
            if len(self._announced) > _ANNOUNCED:
                self._announced.popitem(last=False)

    def keep(self, name: str, doc: Doc, error: BaseException) -> None:
        """Put a document that cannot be handed over into the spool, without waiting for a disk."""
        uid = self._run_of(name, doc)
        self.tell(error, uid)
        if self._overflow.waiting < _MOST_OVERFLOWING:
            self._overflow.put(lambda: self._spooled(uid, name, doc, str(error)))
        else:
            text = "a document was lost: neither the recording nor the spool keeps up"
            self.tell(BackupFailed(text, found=f"{name} {doc.get('uid', '')}".strip()), uid)

    def _run_of(self, name: str, doc: Doc) -> str:
        """Return the run of a document as far as anything is known of it."""
        run = self.router.run_of(name, doc)
        for key in ("descriptor", "stream_resource", "resource") if run is None else ():
            uid = doc.get(key)
            run = run or (self._announced.get(uid) if isinstance(uid, str) else None)
        return run or UNROUTED

    def flush(self, timeout_s: float) -> bool:
        """Return whether all that was handed over before is durable, in a sequence or in the spool, in time."""
        give_up = time.monotonic() + timeout_s
        done: list[bool] = []
        request = Request(lambda: done.append(self._flush(max(0.0, give_up - time.monotonic()))))
        try:
            self._hand_over.put_now(request)
        except WriterClosed:
            return self.join(timeout_s)
        if not request.done.wait(timeout_s):
            return False
        ended = [each.wait(max(0.0, give_up - time.monotonic())) for each in (self._sealer, self._overflow)]
        self._sync_spool()
        return all(ended) and done == [True]

    def finish(self, *, speaks_last: bool = False) -> None:
        """Let the thread record what is there, seal the open runs and end; nothing is taken any more.

        With ``speaks_last`` what nobody was told goes to the standard error at the end.
        """
        self._speaks_last = self._speaks_last or speaks_last
        self._hand_over.close(Request(self._finish))

    def join(self, timeout_s: float) -> bool:
        """Return whether the thread and what it left to seal ended in time."""
        give_up = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        for each in (self._overflow, self._sealer):
            if not each.wait(max(0.0, give_up - time.monotonic())):
                return False
            each.end()
        self._sync_spool()
        return True

    # -- the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._ended:
            try:
                self._turn()
            except BaseException as error:  # noqa: BLE001 - nothing may end this thread but finish()
                self.tell(error)

    def _turn(self) -> None:
        if not self._hand_over.wait(IDLE_S if self._late_runs.is_open or self._runs else None):
            self._between()
            return
        self._hand_over.gather(self._group_s)
        while items := self._hand_over.take(_AT_ONCE):
            for descriptor, group in groupby(items, _descriptor_of_event):
                if descriptor is None:
                    for item in group:
                        self._take_item(item)
                else:
                    self._take_events(list(group))
            self._end_group()
        self._between()

    def _take_item(self, item: Request | tuple[str, Doc]) -> None:
        """Do what one item asks for; nothing it raises keeps those behind it from their turn."""
        try:
            if isinstance(item, Request):
                item.what()
            else:
                self.router(*item)
        except BaseException as error:  # noqa: BLE001 - of one item
            if isinstance(item, Request):
                self.tell(error)
            else:
                self._not_taken([item], error)
        finally:
            if isinstance(item, Request):
                item.done.set()

    def _take_events(self, events: list[tuple[str, Doc]]) -> None:
        """Give events of one descriptor to their run, all at once where it is open."""
        run = self._runs.get(self.router.run_of(*events[0]) or "")
        if run is None:
            for event in events:
                self._take_item(event)
            return
        try:
            run.events(events)
        except BaseException as error:  # noqa: BLE001 - of one run: those behind it get their turn
            self._not_taken(events, error)

    def _not_taken(self, documents: list[tuple[str, Doc]], error: BaseException) -> None:
        """Keep documents of one run that could not be given to it."""
        uid = self._run_of(*documents[0])
        self.tell(error, uid)
        for name, doc in documents:
            self._spooled(uid, name, doc, said_by(error))

    def _end_group(self) -> None:
        for run in self._runs.values():
            run.end_group()
        for uid in list(self._kept):
            if uid in self._runs:
                self._runs[uid].spool_headers("documents of the run are here")
        self._late_runs.end_group()
        self._parked.update()
        self._sync_spool()

    def _between(self) -> None:
        for run in self._runs.values():
            run.end_group()
        self._late_runs.end_idle()
        settled = not self._late_runs.is_open and all(run.is_durable for run in self._runs.values())
        self._parked.tidy(settled)

    def _flush(self, timeout_s: float) -> bool:
        give_up = time.monotonic() + timeout_s
        durable = [run.flush(max(0.0, give_up - time.monotonic())) for run in self._runs.values()]
        self._late_runs.end_all()
        self._parked.update()
        return all(durable)

    def _finish(self) -> None:
        self._ended = True
        self.router.close()
        for uid in list(self._runs):
            self._end_run(uid, _CLOSED)
        self._late_runs.end_all()
        self._known.close()
        self._sealer.put(lambda: self._parked.tidy(is_durable=True))
        self._sealer.put(self._say_last)

    def _say_last(self) -> None:
        """Write what nobody heard of where somebody may see it."""
        self._sync_spool()
        if not self._speaks_last or sys.stderr is None:
            return
        lost = [error for error in self.untold if isinstance(error, BackupFailed)]
        for error in lost:
            print(f"gapless: {type(error).__name__}: {error}", file=sys.stderr)
        self.heard(lost)
        if self.spool.kept:
            print(
                f"gapless: {self.spool.kept} documents were not recorded but went to {self.spool.folder}; "
                "`gapless bluesky deliver` takes them from there",
                file=sys.stderr,
            )

    def _sync_spool(self) -> None:
        try:
            self.spool.flush()
        except GaplessError as error:
            self.tell(error)

    # -- runs ----------------------------------------------------------------------------------

    def _factory(self, _name: str, start: Doc) -> tuple[list[Callable[[str, Doc], None]], list[Any]]:
        uid = str(start["uid"])
        recorded, pattern = self._known.sequence_of(uid), self._options.name
        if recorded is not None:  # what is new in it becomes a layer
            self._late_runs.ended(uid, recorded, [("start", start)])
            return [lambda name, doc: self._late(uid, name, doc)], []
        if not self._known.is_free(run_name(pattern, start), uid):
            pattern = "{uid}"
        run = GuardedRun(uid, lambda refuse: self._feed(start, pattern, refuse), self.spool, self.tell)
        self._runs[uid] = run
        return [lambda name, doc: self._take(run, name, doc)], []

    def _feed(self, start: Doc, pattern: str, refuse: Callable[[str, Doc, BaseException], None]) -> RunFeed:
        sink = self._options.sink

        def open_run(normalised: Doc | None, original: Callable[[], Doc | None] | None) -> RunWriter:
            if normalised is None:
                raise DocumentRefused("a run begins with its start document", found=str(start["uid"]))
            metadata = sink.metadata(normalised) if sink is not None else {}
            metadata = {**feed.normalizer_words, **metadata}
            return RunWriter(self._client, normalised, name=pattern, metadata=metadata, original=original)

        tap = None if sink is None else partial(self._open_tap, sink)
        feed = RunFeed(self._options.make_normalizer, open_run, refuse=refuse, tap=tap)
        return feed

    def _open_tap(self, sink: Sink, start: Doc, run: RunWriter) -> Tap:
        """Return the sink's callback so that its errors are told and never reach the recording."""
        tap: Tap | None = None

        def call(name: str, doc: Doc) -> None:
            nonlocal tap
            try:
                tap = tap or sink.open(start, run)
                tap(name, doc)
            except BaseException as error:  # noqa: BLE001 - of a sink: the sequence has the document
                self.tell(error, str(start["uid"]))

        return call

    def _take(self, run: GuardedRun, name: str, doc: Doc) -> None:
        run(name, doc)
        if name == "stop":
            self._end_run(run.uid, _NO_STOP)

    def _end_run(self, uid: str, cause: str) -> None:
        run = self._runs.pop(uid)
        run.parked = self.router.parked_of(uid)
        run.end_group()
        self._late_runs.ended(
            uid,
            None if run.failed else run.sequence,
            run.headers if self._options.sink is not None else [],
        )
        self._sealer.put(lambda: self._seal(run, cause))

    def _seal(self, run: GuardedRun, cause: str) -> None:
        self._overflow.wait(self._deadline_s)
        with self._lock:
            kept = self._kept.pop(run.uid, 0)
        if kept:
            run.quarantined += kept
            run.spool_headers("documents of the run are here")
        run.seal(cause)
        if run.report is not None:
            self.reports[run.uid] = run.report
            while len(self.reports) > _REMEMBERED:
                self.reports.popitem(last=False)
        if run.failed:
            self._late_runs.ended(run.uid, None, [])
            self._sync_spool()
        elif self._options.sink is not None and run.sequence is not None:
            self._options.sink.sealed(run.sequence)

    # -- what comes too late, or belongs nowhere -----------------------------------------------

    def _late(self, uid: str, name: str, doc: Doc) -> None:
        self._late_runs.take(uid, name, doc)

    def _unroutable(self, name: str, doc: Doc, reason: str) -> None:
        run = self._run_of(name, doc)
        self.tell(DocumentRefused(reason, found=f"{name} {doc.get('uid', '')}".strip()), run)
        self._spooled(run, name, doc, reason)

    def _spooled(self, uid: str, name: str, doc: Doc, reason: str) -> None:
        try:
            self.spool.keep(uid, name, doc, reason=reason)
        except GaplessError as error:
            self.tell(error, uid)
        with self._lock:
            self._kept[uid] += 1


def _descriptor_of_event(item: Request | tuple[str, Doc]) -> str | None:
    """Return the descriptor that an event names, None for anything else."""
    if item.__class__ is not tuple or item[0] != "event":
        return None
    descriptor = item[1].get("descriptor")
    return descriptor if descriptor.__class__ is str else None
