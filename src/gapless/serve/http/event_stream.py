"""Events on their way to a browser: Server-Sent Events, with heartbeats, until nothing more will come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import StreamingResponse

from gapless.errors import GaplessError
from gapless.serve.http.refusal import refusal_of

_BEAT_S: Final = 15.0  # proxies give up a connection that is silent for 30 s to 60 s
_RETRY_MS: Final = 2000
EVENT_STREAM: Final = "text/event-stream"
REFUSED: Final = "refused"  # the event that ends a stream early


@dataclass(frozen=True, slots=True)
class Told:
    """One event: its name, its JSON value, and the id that a browser gives back as Last-Event-ID."""

    event: str
    data: Any
    id: str | None = None

    def encoded(self) -> bytes:
        """Return its lines; ValueError for a number that JSON does not have."""
        head = "" if self.id is None else f"id: {self.id}\n"
        return f"{head}event: {self.event}\ndata: {json.dumps(self.data, allow_nan=False)}\n\n".encode()


class EventStream(StreamingResponse):
    """Sends what ``events`` yields. A GaplessError that it raises is told as the last event, ``refused``.

    ``events`` is closed when the client has gone, the server goes down or the caller's key counts no longer.
    It waits with ``await`` only: each stream that blocks a thread takes one from all other requests.
    """

    media_type = EVENT_STREAM

    def __init__(
        self, events: AsyncGenerator[Told, None], status_code: int = 200, *, beat_s: float = _BEAT_S
    ) -> None:
        super().__init__(_lines(events, beat_s), status_code, {"X-Accel-Buffering": "no"})


def refused_event(error: GaplessError) -> bytes:
    """Return the last event of a stream that ends early."""
    return Told(REFUSED, refusal_of(error).model_dump()).encoded()


async def _lines(events: AsyncGenerator[Told, None], beat_s: float) -> AsyncIterator[bytes]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    coming: asyncio.Future[Told | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_next(events))
            await asyncio.wait({coming}, timeout=beat_s)
            if not coming.done():
                yield b": beat\n\n"
                continue
            told, coming = coming.result(), None
            if told is None:
                return
            yield told.encoded()
    except GaplessError as error:
        yield refused_event(error)
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await events.aclose()


async def _next(events: AsyncGenerator[Told, None]) -> Told | None:
    """Return the next event, or None after the last."""
    return await anext(events, None)
