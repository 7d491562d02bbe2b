"""Closes the addresses at which Tiled answers without asking for a key."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_NOT_FOUND = 404


class WithoutZarr:
    """Answers 404 to everything below ``/zarr``: Tiled's own handlers there never look at the key's scopes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and _is_zarr(scope):
            answer = JSONResponse({"detail": "Nothing is served as Zarr."}, _NOT_FOUND)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_zarr(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return bool(path.strip("/").split("/")[0].lower() == "zarr")
