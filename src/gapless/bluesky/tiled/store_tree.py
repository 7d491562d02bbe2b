"""The root of Tiled's tree: every sequence of a store, found, sorted and paged by SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import anyio.to_thread
from tiled.server.core import NoEntry
from tiled.structures.container import ContainerStructure
from tiled.structures.core import Spec, StructureFamily

from gapless.bluesky.external.roots import NOWHERE, Roots
from gapless.bluesky.tiled.paged import Paged
from gapless.bluesky.tiled.queries import condition
from gapless.bluesky.tiled.refusal import told
from gapless.bluesky.tiled.run_key import IS_RUN, keyed, keys_of, uid_of
from gapless.bluesky.tiled.run_node import RUN_SPECS, RunNode, count_children
from gapless.bluesky.tiled.sequence_node import SEQUENCE_SPEC, SequenceNode
from gapless.catalog import listing_filter
from gapless.catalog.listing import Listed, Listing, SortKey
from gapless.client.client import Client
from gapless.client.sequence_handler import SequenceHandler

ROOT_SPECS: Final = (Spec("CatalogOfBlueskyRuns", "3.0"),)
_PROPERTIES = {
    "id": "name",
    "key": "name",
    "time_created": "created_ns",
    "time_updated": "sealed_ns",
    "created_ns": "created_ns",
}
_METADATA = "metadata."
Sorting = Sequence[tuple[str, int]]


class StoreTree(Paged):
    """Some or all sequences of a store, in an order; a request reads the page that it asks for.

    A Bluesky run has its uid as its key, any other sequence its name. External files are opened below
    ``roots`` only.
    """

    def __init__(
        self,
        client: Client,
        listing: Listing | None = None,
        sorting: Sorting = (("", 1),),
        *,
        roots: Roots = NOWHERE,
    ) -> None:
        self._client = client
        self._roots = roots
        self._listing = Listing(client.catalog.database) if listing is None else listing
        self._sorting = list(sorting)
        super().__init__(ContainerStructure(keys=[]), metadata={}, specs=list(ROOT_SPECS))

    def __repr__(self) -> str:
        return f"<StoreTree {self._client.path}>"

    @property
    def sorting(self) -> list[tuple[str, int]]:
        """The order: metadata paths with 1 or -1; ``""`` is the order of creation."""
        return list(self._sorting)

    # -- narrowing -----------------------------------------------------------------------------

    def search(self, query: Any) -> StoreTree:
        """Return those that satisfy a query; QueryValueError for one that means nothing here."""
        with told():
            wanted = condition(query, _spec_names, self._current)
        return self._narrowed(self._listing.where(wanted), self._sorting)

    def sort(self, sorting: Sorting) -> StoreTree:
        """Return them in another order; equal ones stay in the order of creation."""
        turned = any(way < 0 for key, way in sorting if key in ("", "_"))
        keys = [_sort_key(key, way) for key, way in sorting if key not in ("", "_")]
        return self._narrowed(self._listing.ordered(keys, descending=turned), sorting)

    def get_distinct(
        self,
        metadata: Sequence[str] | None,
        structure_families: Any,
        specs: Any,
        counts: bool,
    ) -> dict[str, Any]:
        """Return the values at metadata paths, and with ``counts`` how many sequences have each."""
        with told():
            return self._distinct(metadata, structure_families, specs, counts)

    def _distinct(
        self, metadata: Sequence[str] | None, structure_families: Any, specs: Any, counts: bool
    ) -> dict[str, Any]:
        listing = self._current()
        found: dict[str, Any] = {}
        if metadata:
            found["metadata"] = {
                path: _distinct(listing.values(listing_filter.dotted(path)), counts) for path in metadata
            }
        if structure_families:
            found["structure_families"] = _distinct([(StructureFamily.container, listing.count())], counts)
        if specs:
            runs = listing.where(IS_RUN).count()
            others = listing.count() - runs
            each = [(list(RUN_SPECS), runs), ([SEQUENCE_SPEC], others)]
            found["specs"] = _distinct([(spec, count) for spec, count in each if count], counts)
        return found

    # -- one by one and in pages ---------------------------------------------------------------

    def __getitem__(self, key: str) -> SequenceNode:
        with told():
            found = self._current().where(keyed([key])).page(limit=3)
        for item in found:
            if uid_of(item) == key:
                return self._node(item, None, whole=True)
        for item in found:
            if item.name == key:
                return self._node(item, None, whole=True)
        raise KeyError(key)

    async def lookup_adapter(self, segments: list[str]) -> Any:
        """Return the node at a path of keys; NoEntry if there is none."""
        try:
            found = await anyio.to_thread.run_sync(self.__getitem__, segments[0])
        except KeyError as error:
            raise NoEntry(segments) from error
        return await found.lookup_adapter(segments[1:])

    def __len__(self) -> int:
        with told():
            return self._current().count()

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys_between(0, None, 1))

    def read(self, fields: Sequence[str] | None = None) -> StoreTree:
        """Return this tree, or with only the sequences of some keys."""
        if fields is None:
            return self
        return self._narrowed(self._listing.where(keyed(fields)), self._sorting)

    # -- inside --------------------------------------------------------------------------------

    def _narrowed(self, listing: Listing, sorting: Sorting) -> StoreTree:
        return StoreTree(self._client, listing, sorting, roots=self._roots)

    def _current(self) -> Listing:
        """Return the listing over a catalog that knows what is on disk now."""
        self._client.catalog.reconcile(quick=True)
        return self._listing

    def _slice_keys(self, offset: int, limit: int | None) -> list[str]:
        with told():
            listing = self._current()
            return keys_of(listing, listing.page(offset, limit))

    def _slice_items(self, offset: int, limit: int | None) -> list[tuple[str, SequenceNode]]:
        with told():
            listing = self._current()
            items = listing.page(offset, limit)
            topics = listing.topics([item for item in items if item.state == "sealed"])
            alone = len(items) == 1
            nodes = [self._node(item, topics.get(item.id), whole=alone) for item in items]
            return list(zip(keys_of(listing, items), nodes, strict=True))

    def _node(
        self, item: Listed, topics: list[tuple[str, dict[str, Any]]] | None, *, whole: bool = False
    ) -> SequenceNode:
        def handler() -> SequenceHandler:
            return self._client.sequence_handler(item.name)

        children = None if topics is None else count_children(topics)
        if uid_of(item) is not None:
            return RunNode(item, handler, roots=self._roots, children=children, whole=whole)
        return SequenceNode(item, handler, children=children, whole=whole)

    def _keys_between(self, start: int, stop: int | None, direction: int, *_: Any) -> list[str]:
        return self._turned(direction)._slice_keys(start, None if stop is None else stop - start)

    def _items_between(self, start: int, stop: int | None, direction: int, *_: Any) -> list[tuple[str, Any]]:
        return self._turned(direction)._slice_items(start, None if stop is None else stop - start)

    def _turned(self, direction: int) -> StoreTree:
        if direction > 0:
            return self
        turned = [(key, -way) for key, way in self._sorting]
        return self.sort(turned if any(key in ("", "_") for key, _ in turned) else [*turned, ("", -1)])


def _spec_names(is_run: bool) -> list[str]:
    return [spec.name for spec in RUN_SPECS] if is_run else [SEQUENCE_SPEC.name]


def _sort_key(key: str, way: int) -> SortKey:
    if key in _PROPERTIES:
        return SortKey(_PROPERTIES[key], is_metadata=False, descending=way < 0)
    path = listing_filter.dotted(key.removeprefix(_METADATA))
    return SortKey(path, is_metadata=True, descending=way < 0)


def _distinct(values: Sequence[tuple[Any, int]], counts: bool) -> list[dict[str, Any]]:
    return [{"value": value, "count": count if counts else None} for value, count in values]
