"""Documents of a run that is recorded already: what is new in them becomes one layer of its sequence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from gapless.bluesky.legacy_event import Reference
from gapless.bluesky.lossless import decode
from gapless.bluesky.run_feed import Normalizer, Refuse, RunFeed
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.stream_schema import DOCUMENTS, VIOLATIONS
from gapless.errors import NotFound
from gapless.model.expression import Sequence as SequenceQuery

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


def find_run(client: Client, uid: str) -> str | None:
    """Return the name of the sequence that holds a run, None if the store has no such run."""
    if client.sequence_exists(uid) and _uid_of(client, uid) == uid:
        return uid
    for item in client.query(SequenceQuery.Q.user_metadata["start.uid"].eq(uid)):
        return str(item.name)
    return None


def _uid_of(client: Client, name: str) -> str | None:
    try:
        start = client.sequence_handler(name).metadata.get("start")
    except NotFound:  # it exists in other letters: it is another sequence
        return None
    return start.get("uid") if isinstance(start, dict) else None


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


def recorded_documents(
    handler: SequenceHandler, names: Iterable[str], *, as_they_came: bool = False
) -> Iterator[tuple[str, Doc]]:
    """Yield what a sequence and its layers hold under these names in ``bluesky/documents``, kind after kind.

    A legacy document comes as it came, others as they were recorded, or ``as_they_came`` as well.
    """
    if DOCUMENTS not in handler.topics:
        return
    first, second = ("original", "document") if as_they_came else ("document", "original")
    for name in names:
        for batch in handler.topic(DOCUMENTS).scan(
            columns=["document", "original"], filter=pc.field("name") == name
        ):
            for row in batch.to_pylist():
                text = row[first] or row[second]
                if text is not None:
                    yield name, decode(text)


def recorded_headers(handler: SequenceHandler) -> list[tuple[str, Doc]]:
    """Return start, descriptors and resources of a recorded run as they came."""
    names = ("start", "descriptor", "resource", "stream_resource")
    return list(recorded_documents(handler, names, as_they_came=True))


def unresolved_references(handler: SequenceHandler, descriptors: Iterable[Doc]) -> Iterator[Reference]:
    """Yield the references to datums that never came before the run ended."""
    if VIOLATIONS not in handler.topics:
        return
    by_stream: dict[str, list[str]] = {}
    for descriptor in descriptors:
        by_stream.setdefault(str(descriptor.get("name", "primary")), []).append(descriptor["uid"])
    ordinals: dict[str, dict[str, int]] = {}
    columns = ["stream", "uid", "seq_num", "key", "value"]
    for batch in handler.topic(VIOLATIONS).scan(columns=columns, filter=pc.field("kind") == "unresolved"):
        for row in batch.to_pylist():
            stream, uid, seq_num, key, value = (row[column] for column in columns)
            if stream not in ordinals:
                ordinals[stream] = _ordinals(handler, stream)
            ordinal = ordinals[stream].get(uid)
            if ordinal is not None and ordinal < len(by_stream.get(stream, ())):
                yield Reference(decode(value), key, by_stream[stream][ordinal], stream, seq_num, uid)


def _ordinals(handler: SequenceHandler, stream: str) -> dict[str, int]:
    """Return the ordinal of each event's descriptor, by the event's uid."""
    ordinals: dict[str, int] = {}
    for name in handler.topics:
        topic = handler.topic(name)
        words = topic.metadata.get("bluesky")
        if isinstance(words, dict) and words.get("stream") == stream:
            for batch in topic.scan(columns=["uid", "descriptor"]):
                columns = (batch.column(key).to_pylist() for key in ("uid", "descriptor"))
                ordinals.update(zip(*columns, strict=True))
    return ordinals


class Addition:
    """Takes documents of a recorded run, one by one, and writes the new ones into a layer.

    ``feed`` is where they go through, once what the run holds was told to its normalizer. Raises what the
    client raises.
    """

    def __init__(
        self,
        client: Client,
        sequence: str,
        make_normalizer: Callable[[], Normalizer | None],
        refuse: Refuse,
        *,
        replayed: bool = False,
    ) -> None:
        handler = client.sequence_handler(sequence)
        self._replayed = replayed
        self._client = client
        self._sequence = sequence
        taken = {*handler.layers, *handler.unsealed_layers}
        self._layer = next(name for n in itertools.count(1) if (name := f"late-{n}") not in taken)
        self._primers = list(recorded_documents(handler, _PRIMERS))
        self.feed = RunFeed(make_normalizer, self._open, refuse=refuse, known=known_uids(handler))
        for name, doc in self._primers:
            self.feed(name, doc)
        self.feed.resume(unresolved_references(handler, self._descriptors()))
        self._primed = self.feed.repeated

    def _descriptors(self) -> list[Doc]:
        return [doc for name, doc in self._primers if name == "descriptor"]

    def _open(self, start: Doc | None, _original: Callable[[], Doc | None] | None) -> RunWriter:
        run = RunWriter.of_layer(
            self._client, self._sequence, self._descriptors(), layer=self._layer, replayed=self._replayed
        )
        for name, doc in self._primers:
            if name == "stream_resource":
                run.know_resource(doc)
        if start is not None:
            run.keep_start(start)
        return run

    def __call__(self, name: str, doc: Doc) -> None:
        """Take one document."""
        self.feed(name, doc)

    def abandon(self, error: BaseException) -> None:
        """Let go of the layer; what it holds stays recoverable."""
        if self.feed.run is not None:
            self.feed.run.fail(error)

    def end(self) -> Added:
        """Seal the layer, if there is one, and tell what it holds."""
        self.feed.finish()
        repeated = self.feed.repeated - self._primed
        run = self.feed.run
        if run is None:
            return Added(None, 0, repeated, has_stop=False)
        run.seal()
        added = sum(run.report.documents.values())
        return Added(self._layer, added, repeated, has_stop=self.feed.stopped)
