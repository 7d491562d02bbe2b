"""A Bluesky run in Tiled's tree: its streams, then what else its sequence holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from tiled.structures.core import Spec

from gapless.bluesky.external.roots import Roots
from gapless.bluesky.stored_run import StoredRun
from gapless.bluesky.stream_schema import EXTERNAL
from gapless.bluesky.tiled.sequence_node import Open, SequenceNode
from gapless.bluesky.tiled.stream_node import StreamNode
from gapless.catalog.listing import Listed

RUN_SPECS: Final = (Spec("BlueskyRun", "3.0"),)
_OWN = "bluesky/"  # topics of documents and violations: found by path, not listed among the streams


class RunNode(SequenceNode):
    """A container of streams, and of topics and features that are none.

    ``bluesky/documents`` and ``bluesky/violations`` are found by their paths but not listed: the client of
    runs takes everything that is listed for a stream.
    """

    def __init__(
        self,
        listed: Listed,
        open_handler: Open,
        *,
        roots: Roots,
        children: int | None = None,
        whole: bool = False,
    ) -> None:
        """``roots``: where its external files may be read; the rest as for any sequence."""
        self._roots = roots
        super().__init__(listed, open_handler, specs=RUN_SPECS, children=children, whole=whole)

    @cached_property
    def run(self) -> StoredRun:
        """The run as it is stored."""
        return StoredRun(self.handler)

    @cached_property
    def _streams(self) -> dict[str, str]:
        """Key to the name of the stream."""
        return {
            name if name and "/" not in name else stream.topic or f"stream-{place}": name
            for place, (name, stream) in enumerate(self.run.streams.items(), 1)
        }

    def _keys(self) -> list[str]:
        others = [key for key in super()._keys() if key not in self._streams]
        return [*self._streams, *others]

    def _listed_topics(self) -> list[str]:
        topics = {topic.name: topic.metadata for topic in self.handler}
        return [*others_of(topics.items()), *self.handler.features]

    def _topic(self, key: str) -> Any:
        if key in self._streams:
            return StreamNode(self.run, self.run.streams[self._streams[key]], self.version, self._roots)
        if f"{key}/" == _OWN:
            return self._tree([name for name in self.handler.topics if name.startswith(_OWN)]).child(key)
        return super()._topic(key)


def stream_of(name: str, metadata: Mapping[str, Any]) -> str | None:
    """Return the stream that a topic belongs to, None for another topic."""
    if name.endswith(EXTERNAL):
        found = metadata.get("stream")
    else:
        words = metadata.get("bluesky")
        found = words.get("stream") if isinstance(words, Mapping) else None
    return found if isinstance(found, str) else None


def others_of(topics: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return the topics that are no stream's and not the run's own."""
    return [
        name for name, metadata in topics if stream_of(name, metadata) is None and not name.startswith(_OWN)
    ]


def count_children(topics: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """Return how many children a run has but for those that features made."""
    known = list(topics)
    streams = {stream_of(name, metadata) for name, metadata in known} - {None}
    return len(streams) + len({name.partition("/")[0] for name in others_of(known)})
