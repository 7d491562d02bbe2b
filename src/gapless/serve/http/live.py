"""GET /live/{name}: one thing that is being recorded, and its stream of status, events and gaps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from gapless.acquire.apart import apart
from gapless.errors import ControlFailed, StateError
from gapless.serve.http.asking import Asking
from gapless.serve.http.event_stream import EventStream, Told
from gapless.serve.http.live_mirror import LiveMirror
from gapless.serve.http.live_sequences import LiveSequence
from gapless.serve.http.live_site import Live, LiveSite
from gapless.serve.http.live_told import LiveTold, facts_of, hello_of
from gapless.serve.http.live_words import said
from gapless.serve.http.names import Name
from gapless.serve.rights import Right

router = APIRouter(tags=["live"])
_TURN_S = 0.1
_FIRST_STATUS_S = 15.0


class LiveStatus(BaseModel):
    """What something that is being recorded is at.

    ``status`` of a run is that of its control socket, its static facts under ``about``; of other recordings it
    has ``topics`` with rows, rates and lag, and ``episode``. Times since 1970 are texts.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    group: str | None
    kind: Literal["run", "episode", "recording"]
    has_control: bool
    started_ns: str
    watchers: int = Field(
        description="how many streams share the one connection to the run, this one included"
    )
    status: dict[str, Any]


@router.get("/live/{name}", response_model=LiveStatus)
async def live_status(name: Name, call: Asking, live: Live) -> dict[str, Any]:
    """Return what the recording is at now. 409 for a sequence that is not being recorded."""
    found = await apart(live.reached, call, Right.READ, name)
    mirror = LiveMirror(channels=())
    with live.feeds.watching(found, mirror) as feed:
        give_up_s = time.monotonic() + _FIRST_STATUS_S
        while (status := mirror.take_status()) is None:
            if mirror.end is not None:
                raise StateError(
                    "the recording ended at this moment", sequence=name, found=mirror.end["state"]
                )
            if call.cancelled() or time.monotonic() > give_up_s:
                raise ControlFailed("the recorder told nothing in time", sequence=name)
            await asyncio.sleep(_TURN_S / 10)
        return {**facts_of(found), "watchers": feed.watchers, "status": said(status)}


@router.get("/live/{name}/stream", response_class=EventStream)
def live_stream(
    name: Name, call: Asking, live: Live, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> EventStream:
    """Stream a recording as server-sent events until it is sealed.

    ``hello`` with what does not change and what the caller may do; ``about`` with devices, their commands and
    channels of a run; ``status`` each second, without the values; ``event`` and ``gap`` as they come, each with
    an id from which a client that comes back goes on (the newest 256 are kept); ``end`` with state and outcome.
    """
    found = live.reached(call, Right.READ, name)
    return EventStream(_told(live, found, hello_of(call, found), last_event_id))


async def _told(
    live: LiveSite, found: LiveSequence, hello: dict[str, Any], last_id: str | None
) -> AsyncGenerator[Told, None]:
    mirror = LiveMirror(channels=())
    with live.feeds.watching(found, mirror) as feed:
        mirror.forget_until(last_id)
        news = LiveTold(hello, feed, mirror)
        while not news.over:
            for told in news.turn():
                yield told
            await asyncio.sleep(_TURN_S)
