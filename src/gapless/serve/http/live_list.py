"""GET /live: what is being recorded at this moment, and the stream that tells each change of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict

from gapless.serve.http.asking import Asking, HttpCall
from gapless.serve.http.event_stream import EventStream, Told
from gapless.serve.http.live_lister import EVERY_S, LiveLister
from gapless.serve.http.live_site import Live
from gapless.serve.rights import Right

router = APIRouter(tags=["live"])


class EpisodeFacts(BaseModel):
    """Where an observer's session is."""

    model_config = ConfigDict(extra="forbid")
    session: str | None
    index: int | None
    seed: int | None
    mode: str | None


class LiveItem(BaseModel):
    """One sequence that is being recorded. ``rows`` and ``dropped`` are durable figures of all its topics."""

    model_config = ConfigDict(extra="forbid")
    name: str
    group: str | None
    kind: Literal["run", "episode", "recording"]
    has_control: bool
    started_ns: str
    rows: int
    dropped: int
    topics: int
    episode: EpisodeFacts | None


class LiveList(BaseModel):
    """What is being recorded now, newest first."""

    model_config = ConfigDict(extra="forbid")
    live: list[LiveItem]


@router.get("/live", response_model=LiveList)
def live_list(call: Asking, live: Live) -> dict[str, Any]:
    """Return what is being recorded now: runs of rigs, episodes and other recordings of any process."""
    call.require(Right.READ)
    return {"live": live.lister.seen(call.sees)}


@router.get("/live/stream", response_class=EventStream)
async def live_list_stream(call: Asking, live: Live) -> EventStream:
    """Stream the list as server-sent events: ``live`` with the list, at once and after each change.

    A sequence of the name ``stream`` is asked about as ``/live/%73tream``.
    """
    call.require(Right.READ)
    return EventStream(_changes(call, live.lister))


async def _changes(call: HttpCall, lister: LiveLister) -> AsyncGenerator[Told, None]:
    shown: list[dict[str, Any]] | None = None
    while True:
        now = await run_in_threadpool(lister.seen, call.sees)
        if now != shown:
            yield Told("live", {"live": now})
            shown = now
        await asyncio.sleep(EVERY_S)
