"""How Tiled asks a container for pages of its children: with await, or as views."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import anyio.to_thread
from tiled.adapters.container import ContainerAdapter
from tiled.iterviews import ItemsView, KeysView, ValuesView

from gapless.bluesky.tiled.read_only import ReadOnly


class Paged(ReadOnly, ContainerAdapter[Any]):  # type: ignore[misc]
    """A read-only container that knows its children by offset; what may wait runs on another thread."""

    must_revalidate = True

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _slice_keys(self, offset: int, limit: int | None) -> list[str]: ...

    @abstractmethod
    def _slice_items(self, offset: int, limit: int | None) -> list[tuple[str, Any]]: ...

    @abstractmethod
    def _keys_between(self, start: int, stop: int | None, direction: int, *_: Any) -> list[str]: ...

    @abstractmethod
    def _items_between(
        self, start: int, stop: int | None, direction: int, *_: Any
    ) -> list[tuple[str, Any]]: ...

    async def exact_len(self) -> int:
        """Return the number of children."""
        return await anyio.to_thread.run_sync(self.__len__)

    async def keys_range(self, offset: int = 0, limit: int | None = None) -> list[str]:
        """Return keys after the first ``offset``."""
        return await anyio.to_thread.run_sync(self._slice_keys, offset, limit)

    async def items_range(self, offset: int = 0, limit: int | None = None) -> list[tuple[str, Any]]:
        """Return keys and children after the first ``offset``."""
        return await anyio.to_thread.run_sync(self._slice_items, offset, limit)

    async def cursor_for_offset(self, offset: int) -> None:
        """Tell that pages are found by their offset."""

    async def keys_page(self, cursor: int | None, limit: int | None) -> tuple[list[str], None]:
        """Return the page of keys at a cursor, which is its offset."""
        return await self.keys_range(cursor or 0, limit), None

    async def items_page(self, cursor: int | None, limit: int | None) -> tuple[list[tuple[str, Any]], None]:
        """Return the page of keys and children at a cursor, which is its offset."""
        return await self.items_range(cursor or 0, limit), None

    def keys(self) -> KeysView:
        """Return the keys."""
        return KeysView(self.__len__, self._keys_between)

    def values(self) -> ValuesView:
        """Return the children."""
        return ValuesView(self.__len__, self._items_between)

    def items(self) -> ItemsView:
        """Return keys and children."""
        return ItemsView(self.__len__, self._items_between)
