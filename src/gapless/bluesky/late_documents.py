"""Documents of a run that is recorded already: what is new in them becomes one layer of its sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from gapless.bluesky.lossless import decode
from gapless.bluesky.run_feed import Normalizer, Refuse, RunFeed
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.stream_schema import DOCUMENTS, VIOLATIONS

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler

Doc = Mapping[str, Any]

# What the base recorded is told to the normalizer in this order, whatever the order of the rows.
_PRIMERS: Final = (
    "start",
    "descriptor",
    "stream_resource",
    "resource",
    "datum",
    "datum_page",
    "bulk_datum",
)


@dataclass(frozen=True, slots=True)
class Added:
    """What late documents became: the layer, None when nothing was new; how many were new or known."""

    layer: str | None
    added: int
    repeated: int
    has_stop: bool


def known_uids(handler: SequenceHandler) -> set[str]:
    """Return the uid of every document that a sequence and its layers hold, external references included."""
    known: set[str] = set()
    for name in handler.topics:
        topic = handler.topic(name)
        if name == VIOLATIONS or "uid" not in topic.schema.names:
            continue
        for batch in topic.scan(columns=["uid"]):
            known.update(uid for uid in batch.column("uid").to_pylist() if uid)
    return known


def recorded_documents(handler: SequenceHandler, names: Iterable[str]) -> Iterator[tuple[str, Doc]]:
    """Yield what a sequence and its layers hold under these names in ``bluesky/documents``, kind after kind.

    A legacy document comes as it came, others as they were recorded.
    """
    if DOCUMENTS not in handler.topics:
        return
    for name in names:
        for batch in handler.topic(DOCUMENTS).scan(
            columns=["document", "original"], filter=pc.field("name") == name
        ):
            for row in batch.to_pylist():
                text = row["document"] or row["original"]
                if text is not None:
                    yield name, decode(text)


def add_late(
    client: Client,
    sequence: str,
    documents: Iterable[tuple[str, Doc]],
    *,
    make_normalizer: Callable[[], Normalizer | None],
    refuse: Refuse,
) -> Added:
    """Write those of the documents that a sealed sequence does not hold into one new layer of it.

    Nothing new means no layer. Raises what the client raises; then what the layer holds stays recoverable.
    """
    addition = Addition(client, sequence, make_normalizer, refuse)
    try:
        for name, doc in documents:
            addition(name, doc)
        return addition.end()
    except BaseException as error:
        addition.abandon(error)
        raise


class Addition:
    """Takes documents of a recorded run, one by one, and writes the new ones into a layer."""

    def __init__(
        self,
        client: Client,
        sequence: str,
        make_normalizer: Callable[[], Normalizer | None],
        refuse: Refuse,
    ) -> None:
        handler = client.sequence_handler(sequence)
        self._client = client
        self._sequence = sequence
        self._layer = f"late-{len(handler.layers) + 1}"
        self._primers = list(recorded_documents(handler, _PRIMERS))
        self._feed = RunFeed(make_normalizer, self._open, refuse=refuse, known=known_uids(handler))
        for name, doc in self._primers:
            self._feed(name, doc)
        self._primed = self._feed.repeated

    def _open(self, _start: Doc | None, _original: Callable[[], Doc | None] | None) -> RunWriter:
        descriptors = [doc for name, doc in self._primers if name == "descriptor"]
        run = RunWriter.of_layer(self._client, self._sequence, descriptors, layer=self._layer)
        for name, doc in self._primers:
            if name == "stream_resource":
                run.know_resource(doc)
        return run

    def __call__(self, name: str, doc: Doc) -> None:
        """Take one document."""
        self._feed(name, doc)

    def abandon(self, error: BaseException) -> None:
        """Let go of the layer; what it holds stays recoverable."""
        if self._feed.run is not None:
            self._feed.run.fail(error)

    def end(self) -> Added:
        """Seal the layer, if there is one, and tell what it holds."""
        self._feed.finish()
        repeated = self._feed.repeated - self._primed
        run = self._feed.run
        if run is None:
            return Added(None, 0, repeated, has_stop=False)
        run.seal()
        added = sum(run.report.documents.values())
        return Added(self._layer, added, repeated, has_stop=self._feed.stopped)
