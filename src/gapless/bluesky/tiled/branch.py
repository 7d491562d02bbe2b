"""A container of Tiled's tree whose children are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio.to_thread
from tiled.adapters.mapping import MapAdapter
from tiled.server.core import NoEntry
from tiled.structures.container import ContainerStructure
from tiled.structures.core import Spec

from gapless.bluesky.tiled.paged import Paged
from gapless.errors import NotFound

Sorting = list[tuple[str, int]]


class Branch(Paged):
    """A container with few children: ``keys()`` tells their keys and ``child(key)`` makes one.

    ``child`` may know keys that are not listed; it raises KeyError or NotFound for one that it does not.
    ``version`` is a text that changes when what is below changes.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[str]],
        child: Callable[[str], Any],
        *,
        metadata: dict[str, Any] | None = None,
        specs: Sequence[Spec] = (),
        version: str = "",
    ) -> None:
        self._list_keys = keys
        self._child = child
        self._version = version
        self._reversed = False
        super().__init__(ContainerStructure(keys=[]), metadata=metadata or {}, specs=list(specs))

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__name__, self._version

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {list(self)}>"

    @property
    def version(self) -> str:
        """A text that changes when what is below changes."""
        return self._version

    @property
    def sorting(self) -> Sorting:
        """The order of the children: as they were recorded."""
        return [("", -1 if self._reversed else 1)]

    # -- Tiled asks in threads or, where it can, with await ------------------------------------

    def __iter__(self) -> Iterator[str]:
        keys = list(self._list_keys())
        return iter(keys[::-1] if self._reversed else keys)

    def __len__(self) -> int:
        return len(self._list_keys())

    def __getitem__(self, key: str) -> Any:
        try:
            return self._child(key)
        except NotFound as error:
            raise KeyError(key) from error

    async def lookup_adapter(self, segments: list[str]) -> Any:
        """Return the descendant at a path of keys; NoEntry if there is none."""
        found: Any = self
        for place, segment in enumerate(segments):
            if found is not self and hasattr(found, "lookup_adapter"):
                return await found.lookup_adapter(segments[place:])
            try:
                found = await anyio.to_thread.run_sync(found.__getitem__, segment)
            except KeyError as error:
                raise NoEntry(segments) from error
        return found

    def search(self, query: Any) -> Any:
        """Return the children that satisfy a query."""
        return MapAdapter(dict(self._slice_items(0, None))).search(query)

    def sort(self, sorting: Sorting) -> Branch:
        """Return the children as they were recorded, or the other way round; they have no other order."""
        turned = type(self).__new__(type(self))
        turned.__dict__ = dict(
            self.__dict__, _reversed=any(way < 0 for key, way in sorting if key in ("", "_"))
        )
        return turned

    def read(self, fields: Sequence[str] | None = None) -> Branch:
        """Return this container, or with only the children that are named."""
        if fields is None:
            return self
        known = set(self)
        missing = [name for name in fields if name not in known]
        if missing:
            raise KeyError(missing[0])
        return Branch(
            lambda: list(fields),
            self._child,
            metadata=self.metadata(),
            specs=self.specs,
            version=self._version,
        )

    def _slice_keys(self, offset: int, limit: int | None) -> list[str]:
        return list(self)[offset : None if limit is None else offset + limit]

    def _slice_items(self, offset: int, limit: int | None) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in self._slice_keys(offset, limit)]

    def _keys_between(self, start: int, stop: int | None, direction: int, *_: Any) -> list[str]:
        keys = list(self)
        return (keys if direction > 0 else keys[::-1])[start:stop]

    def _items_between(self, start: int, stop: int | None, direction: int, *_: Any) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in self._keys_between(start, stop, direction)]
