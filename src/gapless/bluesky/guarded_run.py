"""One run being recorded: what its sequence does not take, or not durably, goes to the spool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.run_failure import said_by
from gapless.bluesky.run_feed import RunFeed
from gapless.bluesky.spool import Spool
from gapless.errors import DeadlinePassed, GaplessError

if TYPE_CHECKING:
    from gapless.bluesky.run_report import RunReport

Doc = Mapping[str, Any]
Tell = Callable[[BaseException, str], None]  # an error and the uid of its run
OpenFeed = Callable[[Callable[[str, Doc, BaseException], None]], RunFeed]

HEADERS: Final = frozenset(("start", "descriptor", "resource", "stream_resource"))
_DATUMS: Final = frozenset(("datum", "datum_page", "bulk_datum"))


class GuardedRun:
    """Hands a run's documents to its feed, and keeps each until it is durable.

    A document that the feed refuses goes to the spool, behind the documents that it needs to make sense: start,
    descriptors and resources, of which ``headers`` came before. When the sequence fails, everything that was
    not durable follows, and all that comes later. Errors are told, never raised.
    """

    def __init__(
        self, uid: str, open_feed: OpenFeed, spool: Spool, tell: Tell, headers: Iterable[tuple[str, Doc]] = ()
    ) -> None:
        self.uid = uid
        self.sealed = False
        self.quarantined = 0
        self.parked = 0
        self.headers: list[tuple[str, Doc]] = list(headers)
        self._spool = spool
        self._tell = tell
        self._spooled_headers = 0
        self._datums: dict[str, tuple[str, Doc]] = {}  # those that no durable event has referred to
        self._group: list[tuple[str, Doc]] = []
        self._not_durable: deque[tuple[dict[str, int], list[tuple[str, Doc]]]] = deque()
        self._failure: str | None = None
        self._feed = open_feed(self._refused)

    @property
    def failed(self) -> bool:
        """Whether the run goes to the spool from now on."""
        return self._failure is not None

    @property
    def is_durable(self) -> bool:
        """Whether every document taken so far is durable, in the sequence or in the spool."""
        return not self._group and not self._not_durable

    @property
    def report(self) -> RunReport | None:
        """The run's counts, None when its sequence could not be opened."""
        run = self._feed.run
        return None if run is None else run.report

    @property
    def sequence(self) -> str | None:
        """The name of the run's sequence, None when it could not be opened."""
        run = self._feed.run
        return None if run is None else run.sequence.name

    def __call__(self, name: str, doc: Doc) -> None:
        """Take one document of the run."""
        if name in HEADERS:
            self.headers.append((name, doc))
        elif name in _DATUMS:
            self._datums[str(doc.get("datum_id", id(doc)))] = (name, doc)
        if self._failure is not None:
            self._spooled([(name, doc)], self._failure)
            return
        self._group.append((name, doc))
        try:
            self._feed(name, doc)
        except BaseException as error:  # noqa: BLE001 - of one run: the others go on
            self._give_up(error)

    def events(self, documents: Sequence[tuple[str, Doc]]) -> None:
        """Take consecutive events, each as its name and document; the fast way for many."""
        if self._failure is not None:
            self._spooled(documents, self._failure)
            return
        self._group += documents
        try:
            self._feed.events(documents)
        except BaseException as error:  # noqa: BLE001 - of one run: the others go on
            self._give_up(error)

    def end_group(self) -> None:
        """Write what was gathered, and forget what has become durable."""
        if self._failure is None and not self.is_durable:
            self._guard(self._end_group)

    def _end_group(self) -> None:
        self._feed.flush()
        if self._feed.run is not None:
            if self._group:
                self._not_durable.append((self._offered_rows(), self._group))
                self._group = []
            self._forget_durable()

    def flush(self, timeout_s: float) -> bool:
        """Return whether everything taken so far is durable in time, in the sequence or in the spool."""
        self.end_group()
        run = self._feed.run
        if self._failure is not None or run is None:
            return True
        try:
            run.flush(timeout_s)
        except DeadlinePassed:  # which harms nothing
            return False
        except BaseException as error:  # noqa: BLE001 - of one run: the others go on
            self._give_up(error)
        return True

    def seal(self, cause: str | None = None) -> None:
        """End the sequence as the run's stop says, or as interrupted; ``cause`` says why there is no stop."""
        if self._failure is None:
            self._guard(lambda: self._seal(cause))

    def _seal(self, cause: str | None) -> None:
        self._feed.finish()
        run = self._feed.run
        if run is None:
            return
        report = run.report
        report.parked += self.parked
        report.quarantined += self.quarantined
        if self.quarantined:
            text = f"{self.quarantined} documents of the run were not recorded but went to the spool"
            report.findings.append({"code": "spooled", "message": text, "documents": self.quarantined})
        run.seal(None if self._feed.stopped else cause)
        self.sealed = True
        self._group = []
        self._not_durable.clear()
        self._datums.clear()

    # -- what goes wrong -----------------------------------------------------------------------

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - of one run: the others go on
            self._give_up(error)

    def _refused(self, name: str, doc: Doc, error: BaseException) -> None:
        """Keep one document that could not be recorded."""
        self._tell(error, self.uid)
        self.quarantined += 1
        self._spooled([(name, doc)], said_by(error))

    def _give_up(self, error: BaseException) -> None:
        """Let all that is not durable, and all that comes, go to the spool."""
        self._failure = said_by(error)
        self._tell(error, self.uid)
        waiting = [document for _, group in self._not_durable for document in group] + self._group
        self._not_durable.clear()
        self._group = []
        self._spooled(waiting, self._failure)
        self._datums.clear()
        run = self._feed.run
        if run is not None:
            try:
                run.fail(error)
            except BaseException as problem:  # noqa: BLE001 - the run has failed: nothing is left to keep
                self._tell(problem, self.uid)

    def spool_headers(self, reason: str) -> None:
        """Put what other documents need to make sense into the spool, where it is not there already."""
        if len(self.headers) > self._spooled_headers or self._datums:
            self._spooled([], reason)

    def _spooled(self, documents: Sequence[tuple[str, Doc]], reason: str) -> None:
        """Append documents to the run's file of the spool, headers that are not in it first."""
        headers = self.headers[self._spooled_headers :]
        datums = list(self._datums.values())
        ahead = {id(doc) for _, doc in (*headers, *datums)}
        rest = [(name, doc) for name, doc in documents if name not in HEADERS and id(doc) not in ahead]
        try:
            self._spool.keep_all(self.uid, [*headers, *datums, *rest], reason=reason)
        except GaplessError as error:
            self._tell(error, self.uid)
            return
        self._spooled_headers = len(self.headers)
        self._datums.clear()

    # -- what is durable -----------------------------------------------------------------------

    def _offered_rows(self) -> dict[str, int]:
        assert self._feed.run is not None
        sequence = self._feed.run.sequence
        return {
            name: sequence.get_topic_writer(name).ledger.produced for name in sequence.list_topic_writers()
        }

    def _forget_durable(self) -> None:
        assert self._feed.run is not None
        sequence = self._feed.run.sequence
        durable = {
            name: sequence.get_topic_writer(name).durable_rows for name in sequence.list_topic_writers()
        }
        while self._not_durable:
            offered, group = self._not_durable[0]
            if any(durable[topic] < rows for topic, rows in offered.items()):
                return
            self._used(group)
            self._not_durable.popleft()

    def _used(self, group: list[tuple[str, Doc]]) -> None:
        """Forget the datums to which durable events refer."""
        if not self._datums:
            return
        for name, doc in group:
            if name == "event":
                for value in doc.get("data", {}).values():
                    if isinstance(value, str):
                        self._datums.pop(value, None)
