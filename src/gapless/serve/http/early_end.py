"""How an answer ends before it is whole: the client is told as much as its kind of answer can still say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import Message, Scope

from gapless.errors import GaplessError
from gapless.serve.http.event_stream import refused_event
from gapless.serve.http.parties import Sent
from gapless.serve.http.refusal import refusal_of, status_of
from gapless.serve.http.refused import answer, close_code, reason_of
from gapless.serve.http.room import visit_of

_LAST_S: Final = 1.0


async def end_early(scope: Scope, sent: Sent, error: GaplessError) -> None:
    """End an answer early; a client that takes nothing is not waited for."""
    if not sent.complete:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                await _last(scope, sent, error)


async def _last(scope: Scope, sent: Sent, error: GaplessError) -> None:
    """Say why an answer ends: refused if nothing was said, else as the kind of answer allows."""
    if scope["type"] == "websocket":
        if sent.begun:
            await sent({"type": "websocket.close", "code": close_code(error), "reason": reason_of(error)})
        else:
            await deny(scope, sent, error)
    elif not sent.begun:
        await answer(HTTPConnection(scope), error)(scope, _nothing, sent)
    elif sent.events:
        await sent({"type": "http.response.body", "body": refused_event(error), "more_body": False})
    elif scope["http_version"] == "1.0":
        visit_of(scope).reset()
    # Anything else stays incomplete: its connection is closed, and the client sees that the answer is cut.


async def deny(scope: Scope, sent: Sent, error: GaplessError) -> None:
    """Refuse a WebSocket that was not accepted, with a whole answer where the transport can."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await sent({"type": "websocket.close", "code": close_code(error), "reason": reason_of(error)})
        return
    refusal = JSONResponse(refusal_of(error).model_dump(), status_of(error))

    async def renamed(message: Message) -> None:
        await sent({**message, "type": f"websocket.{message['type']}"})

    await refusal({**scope, "type": "http"}, _nothing, renamed)


async def _nothing() -> Message:
    """Stand in for a client that says no more."""
    return {"type": "http.disconnect"}
