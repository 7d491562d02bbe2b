"""Where the documents of one run go when they are delivered: a new sequence, a layer, or nowhere yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from gapless.bluesky.delivery_report import DeliveredRun, Delivery
from gapless.bluesky.late_documents import Addition
from gapless.bluesky.normalizer import RunNormalizer
from gapless.bluesky.run_feed import Normalizer, RunFeed
from gapless.bluesky.run_writer import RunWriter
from gapless.errors import DocumentRefused

if TYPE_CHECKING:
    from gapless.client.client import Client

Doc = Mapping[str, Any]
_NO_STOP: Final = "there was no stop document among the documents that were delivered"


@dataclass(frozen=True, slots=True)
class Target:
    """Where runs go and how."""

    client: Client
    name: str
    make_normalizer: Callable[[], Normalizer | None] | None  # None: as the run was recorded
    completes: bool = True  # of a run that the store has, what is new is added


class Destination(Protocol):
    """Takes the documents of one run."""

    run: DeliveredRun

    def take(self, name: str, doc: Doc) -> None:
        """Take one document of the run."""

    def end(self) -> None:
        """Seal what was written and complete :attr:`run`."""

    def abandon(self, error: BaseException) -> None:
        """Let go of what is open; it stays recoverable."""


class NewRun:
    """A run that becomes a sequence."""

    def __init__(self, run: DeliveredRun, target: Target, pattern: str, report: Delivery) -> None:
        self.run = run
        self._client = target.client
        self._pattern = pattern
        self._report = report
        self._feed = RunFeed(target.make_normalizer or RunNormalizer, self._opened, refuse=report.refuse)

    def _opened(self, start: Doc | None, original: Callable[[], Doc | None] | None) -> RunWriter:
        if start is None:
            raise DocumentRefused("a run begins with its start document", found=self.run.uid)
        return RunWriter(
            self._client,
            start,
            name=self._pattern,
            metadata=self._feed.normalizer_words,
            original=original,
            replayed=True,
        )

    def take(self, name: str, doc: Doc) -> None:
        """Take one document of the run."""
        self.run.documents += 1
        self._feed(name, doc)

    def end(self) -> None:
        """Seal what was written and say what became of it."""
        self._feed.finish()
        writer = self._feed.run
        if writer is None:
            self.run.result = "refused"
            return
        writer.seal(None if self._feed.stopped else _NO_STOP)
        self.run.sequence = writer.sequence.name
        self.run.stop = "delivered" if self._feed.stopped else "missing"
        if not self._feed.stopped:
            self._report.find("B105", {}, f"{self.run.sequence} is sealed as interrupted")

    def abandon(self, error: BaseException) -> None:
        """Let go of what is open; it stays recoverable."""
        if self._feed.run is not None:
            self._feed.run.fail(error)


class KnownRun:
    """A run that the store has: what is new becomes a layer."""

    def __init__(
        self,
        run: DeliveredRun,
        client: Client,
        make_normalizer: Callable[[], Normalizer | None],
        report: Delivery,
    ) -> None:
        self.run = run
        self._addition = Addition(client, run.sequence, make_normalizer, report.refuse, replayed=True)

    def take(self, name: str, doc: Doc) -> None:
        """Take one document of the run."""
        self._addition(name, doc)

    def end(self) -> None:
        """Seal what was written and say what became of it."""
        added = self._addition.end()
        self.run.documents += added.added
        self.run.repeated += added.repeated
        if added.layer is not None:
            self.run.layer = added.layer
            self.run.result = "added" if self.run.result == "complete" else self.run.result
        if added.has_stop:
            self.run.stop = "delivered"

    def abandon(self, error: BaseException) -> None:
        """Let go of what is open; it stays recoverable."""
        self._addition.abandon(error)


class CountedRun:
    """A run of which documents are counted only; ``is_known`` tells which of them the store has.

    What is ``held`` was not delivered, and its files stay where they are.
    """

    def __init__(self, run: DeliveredRun, is_known: Callable[[Doc], bool], *, held: bool = False) -> None:
        self.run = run
        self.held = held
        self._is_known = is_known

    def take(self, name: str, doc: Doc) -> None:
        """Count one document of the run."""
        if self._is_known(doc):
            self.run.repeated += 1
            return
        self.run.documents += 1
        if name == "stop":
            self.run.stop = "delivered"
        if self.run.result == "complete":
            self.run.result = "added"

    def end(self) -> None:
        """Do nothing: nothing was written."""

    def abandon(self, error: BaseException) -> None:
        """Do nothing: nothing was written."""
