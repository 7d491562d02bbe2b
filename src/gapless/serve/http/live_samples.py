"""The WebSocket of a recording's values: the newest of each channel, at most ten times a second."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from gapless.acquire.apart import apart
from gapless.serve.http.asking import call_of
from gapless.serve.http.event_stream import Told
from gapless.serve.http.live_mirror import LiveMirror
from gapless.serve.http.live_run import RATE_HZ
from gapless.serve.http.live_site import live_site
from gapless.serve.http.live_told import LiveTold, hello_of
from gapless.serve.http.live_words import said
from gapless.serve.http.names import Name
from gapless.serve.rights import Right

router = APIRouter()
SEND_S: Final = 30.0  # a browser that takes nothing for so long is let go
QUIET_S: Final = 60.0  # as is one that says nothing, ping included
_MAX_GLOBS = 64
_SLOWEST_HZ: Final = 0.1
_REASON_BYTES = 100  # what a closing frame holds is bounded
_NORMAL, _TOO_SLOW = 1000, 1013


@router.websocket("/live/{name}/samples")
async def live_samples(
    socket: WebSocket,
    name: Name,
    channels: Annotated[list[str] | None, Query(max_length=_MAX_GLOBS)] = None,
    rate_hz: Annotated[float, Query(ge=_SLOWEST_HZ, le=RATE_HZ)] = RATE_HZ,
    *,
    told: bool = False,
) -> None:
    """Send ``{"samples": {CHANNEL: {value, unit, status, timestamp_ns, uncertainty}}, "frames", "replaced"}``.

    ``channels``: globs, all channels if left out. A message holds at most 256 channels; of one that was not
    taken in time only the newest value is left, and ``replaced`` counts the others. ``told``: send what the
    event stream tells, too, as ``{"told": KIND, "data", "id"}``, so that a page needs one line only. Whatever
    the client says is answered with ``{"pong": …}``; one that says nothing for a minute is let go. The last
    message is ``{"end": …}``. Raises what refuses the caller before anything is sent.
    """
    call, live = call_of(socket), await live_site(socket)
    found = await apart(live.reached, call, Right.READ, name)
    hello = await apart(hello_of, call, found) if told else {}
    try:
        await socket.accept()
    except OSError:  # the client left before it was let in: there is nobody to tell
        return
    mirror = LiveMirror(channels)
    with live.feeds.watching(found, mirror) as feed:
        listener = asyncio.create_task(_listen(socket))
        news = LiveTold(hello, feed, mirror) if told else None
        try:
            code, reason = await _send(socket, mirror, news, listener, 1 / rate_hz)
        finally:
            listener.cancel()
    await _close(socket, code, reason)


async def _send(
    socket: WebSocket, mirror: LiveMirror, news: LiveTold | None, listener: asyncio.Task[str], period_s: float
) -> tuple[int, str]:
    """Send what is new each period until the recording ends or the client leaves; return how to close."""
    while not listener.done():
        end = mirror.end  # asked first: what came before it goes out before it
        messages = [] if news is None else [_worded(one) for one in news.turn() if one.event != "end"]
        values = mirror.take_values()
        if values is not None:
            messages.append(values)
        elif end is not None:
            messages.append({"end": said(end)})
        try:
            async with asyncio.timeout(SEND_S):
                for message in messages:
                    await socket.send_text(_text(message))
        except TimeoutError:
            return _TOO_SLOW, "nothing was read for too long"
        except (WebSocketDisconnect, RuntimeError) as error:
            return _NORMAL, f"the client left: {error}"
        if messages and "end" in messages[-1]:
            return _NORMAL, "the recording ended"
        await asyncio.sleep(period_s)
    return _NORMAL, listener.result()


def _worded(told: Told) -> dict[str, Any]:
    return {"told": told.event, "data": told.data, "id": told.id}


def _text(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


async def _listen(socket: WebSocket) -> str:
    """Answer pings until the client leaves or is quiet for too long; return which of both."""
    try:
        while True:
            async with asyncio.timeout(QUIET_S):
                ping = await socket.receive_text()
            await socket.send_text(json.dumps({"pong": ping[:_REASON_BYTES]}))
    except TimeoutError:
        return "nothing was heard for too long"
    except (WebSocketDisconnect, RuntimeError, KeyError) as error:  # KeyError: it sent bytes
        return f"the client left: {error}"


async def _close(socket: WebSocket, code: int, reason: str) -> bool:
    """Close the socket; return whether it was still open."""
    words = reason.encode()[:_REASON_BYTES].decode("utf-8", "ignore")
    try:
        await socket.close(code, words)
    except (RuntimeError, WebSocketDisconnect):
        return False
    return True
