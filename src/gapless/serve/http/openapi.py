"""The description of the API, as OpenAPI has it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gapless.serve.http.sessions import cookie_name

router = APIRouter(include_in_schema=False)
_SCHEMES: Final = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "an API key of `gapless keys make`; also in the header mosaico-api-key-token",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "description": "what POST /session sets; a change then needs X-CSRF-Token, too",
    },
}


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    """Describe the API. Made on the first request, on a thread: it takes long enough to hold up all others."""
    return JSONResponse(_described(request.app))


def _described(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's description, with the ways to show a key; a store without keys asks for none."""
    whole = app.openapi()
    session = {**_SCHEMES["session"], "name": cookie_name(app.state.site.served.store_uid)}
    whole.setdefault("components", {})["securitySchemes"] = {**_SCHEMES, "session": session}
    whole["security"] = [{name: []} for name in _SCHEMES]
    whole["paths"]["/api/v1/session"]["post"]["security"] = []
    return whole
