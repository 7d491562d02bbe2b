"""Nodes that take no writing: Tiled's server asks some of them without looking whether they can."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

_NOT_ALLOWED = 405


class ReadOnly:
    """Refuses new nodes below it, and to end or follow a stream of writing, of which there is none."""

    async def create_node(self, **_: Any) -> Any:
        """Refuse to make a node."""
        raise _refused()

    async def close_stream(self) -> None:
        """Refuse to end a stream."""
        raise _refused()

    def make_ws_handler(self, *_: Any) -> Any:
        """Refuse to follow a node; what it holds now is read again at each request."""
        raise _refused()


def _refused() -> HTTPException:
    return HTTPException(
        _NOT_ALLOWED, detail="The store is served read-only; record with gapless, then look again."
    )
