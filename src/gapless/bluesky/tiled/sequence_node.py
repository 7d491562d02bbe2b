"""A sequence in Tiled's tree: its topics and what features made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from tiled.structures.core import Spec

from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.tiled.array_node import ArrayNode
from gapless.bluesky.tiled.branch import Branch
from gapless.bluesky.tiled.media_frames import FrameSource
from gapless.bluesky.tiled.table_node import TableNode
from gapless.bluesky.tiled.topic_rows import TopicRows
from gapless.bluesky.tiled.topic_tree import TopicTree
from gapless.catalog.listing import Listed
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import GaplessError
from gapless.store.media.rows import TAG

SEQUENCE_SPEC: Final = Spec("GaplessSequence", "1")
Open = Callable[[], SequenceHandler]


class SequenceNode(Branch):
    """A container of topics; the bundle is opened when one is asked for.

    ``children``: about how many there are, where that is known without opening it. ``whole``: its metadata
    also list its artifacts, which takes opening it; a page of many sequences does without.
    """

    def __init__(
        self,
        listed: Listed,
        open_handler: Open,
        *,
        specs: Sequence[Spec] = (SEQUENCE_SPEC,),
        children: int | None = None,
        whole: bool = False,
    ) -> None:
        self._open = open_handler
        self._whole = whole
        self._children = children
        super().__init__(
            self._keys, self._topic, metadata={**listed.metadata, "gapless": _facts(listed)}, specs=specs
        )

    def metadata(self) -> dict[str, Any]:
        """Return the sequence's metadata, and what the store knows of it under ``gapless``."""
        found: dict[str, Any] = json_safe(self._metadata)
        if self._whole:
            found["gapless"]["artifacts"] = self._artifacts()
        return found

    def _artifacts(self) -> dict[str, Any] | None:
        """Return artifact name to media type, size, digest, path or URI; None if the bundle is damaged."""
        try:
            found: dict[str, Any] = json_safe(self.handler.artifacts)
        except GaplessError:  # its metadata stay readable; reading a topic says what is wrong
            return None
        return found

    @cached_property
    def handler(self) -> SequenceHandler:
        """The reader of the sequence."""
        return self._open()

    @property
    def version(self) -> str:
        """A text that changes when a row, a layer or a feature comes."""
        return version_of(self.handler)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self.version

    async def approx_len(self) -> int | None:
        """Return about how many children there are, None if that takes opening the bundle."""
        return self._children

    def _keys(self) -> list[str]:
        return self._tree(self._listed_topics()).keys

    def _topic(self, key: str) -> Any:
        return self._tree(self._listed_topics()).child(key)

    def _listed_topics(self) -> list[str]:
        return [*self.handler.topics, *self.handler.features]

    def _tree(self, topics: Sequence[str]) -> TopicTree:
        return TopicTree(topics, self._make, self.version)

    def _make(self, name: str) -> Any:
        return topic_node(self.handler, name)


def version_of(handler: SequenceHandler) -> str:
    """Return a text that changes when a sequence gets a row, a layer, a seal or a feature."""
    rows = "" if handler.state == "sealed" else sum(topic.rows for topic in handler)
    known = (handler.path, handler.state, handler.content_digest, handler.layers, rows, handler.features)
    return "\n".join(map(str, known))


def topic_node(handler: SequenceHandler, name: str) -> Any:
    """Return a topic as a table; one of pictures as a container of ``frames`` and the table ``rows``."""
    topic = handler.topic(name)
    version = f"{version_of(handler)}\n{name}"
    facts = {"ontology": topic.ontology_tag, "clock": topic.clock, "units": topic.units}
    metadata = json_safe({**topic.metadata, "gapless": facts})
    is_media = topic.ontology_tag == TAG
    hidden = ["data"] if is_media else []  # what an encoder made of the pictures helps nobody here
    table = TableNode(lambda: TopicRows(topic.reader, version, hidden=hidden), metadata=metadata)
    if not is_media:
        return table
    frames = FrameSource(topic, version)
    children: dict[str, Callable[[], Any]] = {"rows": lambda: table}
    if frames.is_uniform:
        children = {"frames": lambda: ArrayNode(frames, metadata=metadata), **children}
    return Branch(lambda: list(children), lambda key: children[key](), metadata=metadata, version=version)


def _facts(listed: Listed) -> dict[str, Any]:
    return {
        "name": listed.name,
        "state": listed.state,
        "outcome": listed.outcome,
        "group": listed.group,
        "created_ns": listed.created_ns,
        "sealed_ns": listed.sealed_ns,
        "start_ns": listed.start_ns,
        "end_ns": listed.end_ns,
        "rows": listed.rows,
        "layers": listed.layers,
    }
