"""Documents of a run that is recorded already: what is new in them becomes one layer of its sequence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapless.bluesky.recorded_run import RecordedRun, known_uids, recorded_documents, recorded_headers
from gapless.bluesky.run_feed import Normalizer, Refuse, RunFeed
from gapless.bluesky.run_writer import RunWriter
from gapless.errors import NotFound
from gapless.model.expression import Sequence as SequenceQuery

if TYPE_CHECKING:
    from gapless.client.client import Client

Doc = Mapping[str, Any]

__all__ = ["Added", "Addition", "find_run", "known_uids", "recorded_documents", "recorded_headers"]


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
        self._recorded = recorded = RecordedRun.of(handler)
        self.feed = RunFeed(
            make_normalizer,
            self._open,
            refuse=refuse,
            known=recorded.known,
            originals=recorded.originals,
            has_stop=recorded.has_stop,
        )
        for name, doc in recorded.primers:
            self.feed(name, doc)
        self.feed.recall(recorded.resources, recorded.frames)
        self.feed.resume(recorded.unresolved)
        self._primed = self.feed.repeated

    def _open(self, start: Doc | None, original: Callable[[], Doc | None] | None) -> RunWriter:
        run = RunWriter.of_layer(
            self._client,
            self._sequence,
            self._recorded.descriptors,
            layer=self._layer,
            original=original,
            replayed=self._replayed,
        )
        for doc in self._recorded.resources:
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
