"""Refusals as answers: JSON for programs, a page for people who opened one, a close code for a WebSocket."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.websockets import WebSocket, WebSocketState

from gapless.errors import GaplessError, KeyRefused, NotFound, QuestionRefused, ServerClosing
from gapless.serve.http.asking import CALL, HttpCall
from gapless.serve.http.refusal import known, refusal_of, status_of
from gapless.serve.http.site import Site
from gapless.serve.http.templates import filled
from gapless.serve.operations.log_lines import tell
from gapless.serve.visible import below

_LOG = logging.getLogger("gapless.serve")
_API: Final = "/api/"
_SHOWN: Final = 5  # faults of one request
_REASON_BYTES: Final = 123  # what a WebSocket's close frame has room for
PAGE: Final = "gapless.page"  # what a scope is counted as when its route has no name
RESTARTING: Final = 1012
POLICY: Final = 1008
FAULT: Final = 1011


def install(app: FastAPI) -> None:
    """Let every error that ends a request become its answer."""
    handler: Any = _on_error  # for requests and WebSockets; Starlette's type is for one of them
    kinds = (GaplessError, RequestValidationError, WebSocketRequestValidationError, HTTPException, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, handler)


async def _on_error(connection: HTTPConnection, error: Exception) -> Response | None:
    told, status, headers = _told(connection, error)
    if isinstance(connection, WebSocket):
        await refuse_websocket(connection, told)
        return None
    return answer(connection, told, status, headers)


def answer(
    connection: HTTPConnection,
    error: GaplessError,
    status: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return the answer that refuses a request; one for a page without a key leads to the login."""
    status = status_of(error) if status is None else status
    headers = dict(headers or {})
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (401, 403) or status >= 500:
        peer = connection.client.host if connection.client else ""
        event = "refused" if status < 500 else "failed"
        words = f"an HTTP request {'was refused' if status < 500 else event}: {error.message}"
        tell(_LOG, logging.INFO, event, words, code=error.code, peer=peer)
    if not _wants_page(connection):
        return JSONResponse(_words(connection, error), status, headers)
    if isinstance(error, KeyRefused):
        return RedirectResponse(f"/login?next={quote(_asked(connection), safe='/')}", 303)
    call: HttpCall | None = connection.scope.get(CALL)
    page = filled("error.html", connection, call, status=status, told=_words(connection, error))
    page.headers.update(headers)
    return page


async def refuse_websocket(socket: WebSocket, error: GaplessError) -> None:
    """Refuse a WebSocket: with an HTTP answer before it is accepted, else by closing it with the reason."""
    if socket.application_state is WebSocketState.DISCONNECTED:
        return
    if socket.application_state is WebSocketState.CONNECTING:
        if socket.client_state is WebSocketState.CONNECTING:
            await socket.receive()
        await socket.send_denial_response(JSONResponse(_words(socket, error), status_of(error)))
        return
    await socket.close(close_code(error), reason_of(error))


def close_code(error: GaplessError) -> int:
    """Return the close code of a WebSocket that an error ends."""
    if isinstance(error, ServerClosing):
        return RESTARTING
    return FAULT if status_of(error) >= 500 else POLICY


def reason_of(error: GaplessError) -> str:
    """Return what a close frame says: the error's class and message, as far as they fit."""
    text = f"{type(error).__name__}: {error.message}".encode()[:_REASON_BYTES]
    return text.decode("utf-8", "ignore")


def _words(connection: HTTPConnection, error: GaplessError) -> dict[str, Any]:
    """Return what the answer says; files have their paths below the store's folder, which is nobody's concern."""
    site: Site = connection.app.state.site
    words = refusal_of(error).model_dump()
    return {key: below(site.served.root, text) if text is not None else None for key, text in words.items()}


def _told(connection: HTTPConnection, error: Exception) -> tuple[GaplessError, int, dict[str, str]]:
    """Return the error as ours, its status and the headers that go with it."""
    match error:
        case RequestValidationError() | WebSocketRequestValidationError():
            found = question_refused(list(error.errors()))
            return found, status_of(found), {}
        case HTTPException(status_code=404):
            person = _wants_page(connection)
            step = "begin with all sequences" if person else "/api/v1/openapi.json lists all paths"
            return NotFound("there is nothing at this path", next_step=step), 404, {}
        case HTTPException():
            refused = QuestionRefused("the request cannot be answered as it is", found=str(error.detail))
            return refused, error.status_code, dict(error.headers or {})
    site: Site = connection.app.state.site
    what = f"{connection.scope.get('method', 'WebSocket')} {route_of(connection.scope)}"
    told = known(error, what, _LOG, draining=site.served.draining.is_set())
    return told, status_of(told), {}


def question_refused(faults: list[dict[str, Any]]) -> QuestionRefused:
    """Return the error of a request whose parameters or body do not fit; it names each place."""
    places = [".".join(str(part) for part in fault["loc"]) for fault in faults]
    words = [f"{place}: {fault['msg']}" for place, fault in zip(places, faults, strict=True)]
    return QuestionRefused(
        "parameters or body do not fit",
        field=places[0] if places else None,
        found="; ".join(words[:_SHOWN]),
    )


def route_of(scope: Any) -> str:
    """Return the path of a request's route as it is declared, "" where there is none: a bounded set of words."""
    route = scope.get("route")
    path = str(getattr(route, "path", "")) or str(scope.get(PAGE, ""))
    return f"/api/v1{path}" if path and scope["path"].startswith(_API) and not path.startswith(_API) else path


def _wants_page(connection: HTTPConnection) -> bool:
    path = connection.scope["path"]
    return "text/html" in connection.headers.get("accept", "") and not path.startswith((_API, "/static/"))


def _asked(connection: HTTPConnection) -> str:
    query = connection.scope["query_string"].decode("latin-1")
    return f"{connection.scope['path']}?{query}" if query else str(connection.scope["path"])
