"""Nodes that take no writing: Tiled's server asks some of them without looking whether they can."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

_NOT_ALLOWED = 405


class ReadOnly:
    """Refuses new nodes below it."""

    async def create_node(self, **_: Any) -> Any:
        """Refuse to make a node."""
        raise HTTPException(
            _NOT_ALLOWED, detail="The store is served read-only; record with gapless, then look again."
        )
