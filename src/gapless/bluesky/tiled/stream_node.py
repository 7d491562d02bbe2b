"""A stream of a Bluesky run in Tiled's tree, as the community's client of event streams reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
from tiled.structures.core import Spec

from gapless.bluesky.external.roots import Roots
from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.stored_run import StoredRun
from gapless.bluesky.stored_stream import StoredStream
from gapless.bluesky.tiled.array_node import ArrayNode
from gapless.bluesky.tiled.array_sources import ListSource, is_uniform
from gapless.bluesky.tiled.branch import Branch
from gapless.bluesky.tiled.cells import is_number
from gapless.bluesky.tiled.event_rows import EventRows
from gapless.bluesky.tiled.external_source import ExternalSource
from gapless.bluesky.tiled.memo import Memo
from gapless.bluesky.tiled.table_node import TableNode

STREAM_SPECS: Final = (Spec("BlueskyEventStream", "3.0"), Spec("composite"))
_TABLE = "internal"
_NOT_KEPT = ("name", "object_keys", "run_start")  # the client takes them from the nodes around
_uniform_known: Final[Memo[bool]] = Memo(1024)


class StreamNode(Branch):
    """The events as the table ``internal``, and an array for each data key of arrays or external values."""

    def __init__(self, run: StoredRun, stream: StoredStream, version: str, roots: Roots) -> None:
        """``roots``: where external files may be read."""
        self._roots = roots
        self._run = run
        self._stream = stream
        self._sealed = run.state == "sealed"
        super().__init__(
            lambda: list(self._children),
            lambda key: self._children[key](),
            metadata=self._describe(),
            specs=STREAM_SPECS,
            version=f"{version}\n{stream.name}",
        )

    # -- children ------------------------------------------------------------------------------

    @cached_property
    def _children(self) -> dict[str, Callable[[], Any]]:
        found: dict[str, Callable[[], Any]] = {}
        if self._readers:
            found[_TABLE] = lambda: TableNode(lambda: self._events(hidden=list(self._arrays)))
        for column, (key, shape) in self._arrays.items():
            found[self._shown[key]] = self._list_node(column, key, shape)
        for name in self._stream.external:
            found[self._shown.get(name, name)] = self._external_node(name)
        return found

    @cached_property
    def _readers(self) -> list[Any]:
        topic = self._stream.topic
        return [part.topic(topic) for part in self._run.parts if topic in part.topics] if topic else []

    def _events(self, hidden: list[str]) -> EventRows:
        return EventRows(self._readers, self.version, hidden=hidden, sealed=self._sealed)

    @cached_property
    def _arrays(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Columns of lists of numbers that all have the declared shape, with their data keys and shapes."""
        found = {}
        for key, column in self._stream.columns.items():
            shape = self._stream.data_keys[key].get("shape") or ()
            kind = self._readers[0].schema.field(column).type
            if not pa.types.is_list(kind) or not is_number(kind.value_type) or not shape:
                continue
            if all(isinstance(size, int) and size > 0 for size in shape) and self._is_uniform(column, shape):
                found[column] = (key, tuple(shape))
        return found

    def _is_uniform(self, column: str, shape: tuple[int, ...]) -> bool:
        def look() -> bool:
            return is_uniform(self._events(hidden=[]), column, shape)

        return _uniform_known.get((self.version, column), look) if self._sealed else look()

    def _list_node(self, column: str, key: str, shape: tuple[int, ...]) -> Callable[[], ArrayNode]:
        def make() -> ArrayNode:
            source = ListSource(self._events(hidden=[]), column, shape)
            return ArrayNode(source, metadata=self._data_key(key), dims=_dims("time", key, len(source.shape)))

        return make

    def _external_node(self, key: str) -> Callable[[], ArrayNode]:
        def make() -> ArrayNode:
            source = ExternalSource(self._stream.external[key].within(self._roots), self.version)
            events = sum(self._events(hidden=[]).lengths) if self._readers else source.shape[0]
            along = "time" if source.shape[0] == events else f"{key}_time"
            return ArrayNode(source, metadata=self._data_key(key), dims=_dims(along, key, len(source.shape)))

        return make

    # -- metadata ------------------------------------------------------------------------------

    @cached_property
    def _shown(self) -> dict[str, str]:
        """Data key to the key it is served by: its column, which Tiled's rules allow."""
        shown = {key: self._stream.columns.get(key, key) for key in self._stream.data_keys}
        return {key: f"{name}_" if name == _TABLE else name for key, name in shown.items()}

    def _data_key(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json_safe(self._stream.data_keys.get(key, {}))
        return found

    def _describe(self) -> dict[str, Any]:
        """Return the first descriptor and what later ones changed, as the live writer keeps them."""
        descriptors = [json_safe(descriptor) for descriptor in self._stream.descriptors]
        if not descriptors:
            return {}
        first, *later = descriptors
        words = {name: value for name, value in first.items() if name not in _NOT_KEPT}
        objects = {key: name for name, keys in (first.get("object_keys") or {}).items() for key in keys}
        words["data_keys"] = {
            self._shown[key]: _with_object(data_key, objects.get(key))
            for key, data_key in first["data_keys"].items()
        }
        if later:
            kept = ("uid", "time", "configuration")
            words["_config_updates"] = [{n: d[n] for n in kept if n in d} for d in later]
        return words


def _with_object(data_key: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    return dict(data_key) if name is None or "object_name" in data_key else {**data_key, "object_name": name}


def _dims(along: str, key: str, count: int) -> list[str]:
    return [along, *(f"{key}_dim{axis}" for axis in range(1, count))]
