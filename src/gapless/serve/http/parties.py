"""The two ends of a request: how far its answer has come, and whether its client is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Send

from gapless.serve.http.event_stream import EVENT_STREAM

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall
    from gapless.serve.http.running import Running
    from gapless.serve.http.shares import Share


class Sent:
    """The way to the client, and how far the answer has come. ``status`` "closed": nothing was said."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.running: Running | None = None
        self.share: Share | None = None  # of the work behind the answer
        self.on_events: Callable[[], None] | None = None  # before an answer of events
        self.status = "closed"
        self.events = False
        self.complete = False

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        kind, more = message["type"], message.get("more_body", False)
        if kind.endswith("response.start"):
            self._start(message)
        elif kind == "websocket.accept":
            self.status = "101"
        self.complete |= kind == "websocket.close" or (kind.endswith("response.body") and not more)
        if kind == "http.response.body" and self.share is not None:
            await self.share.aside(self._send(message), more=more)
        else:
            await self._send(message)

    def _start(self, message: Message) -> None:
        events = Headers(raw=message["headers"]).get("content-type", "").startswith(EVENT_STREAM)
        if events and self.on_events is not None:
            self.on_events()
        if events and self.running is not None:
            self.running.endless = True
        self.status, self.events = str(message["status"]), events

    def take_no_turns(self) -> None:
        """Give the place of the work back for good: none is left, or what is left waits most of the time."""
        if self.share is not None:
            self.share.give_back()
            self.share = None

    @property
    def begun(self) -> bool:
        """Whether the client has heard anything."""
        return self.status != "closed"


class Client:
    """The other end of one request: its body, once, and then the news that it has gone."""

    def __init__(self, receive: Receive, body: bytes, call: HttpCall | None) -> None:
        self._receive = receive
        self._body: bytes | None = body
        self._call = call
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """Return the body; from then on wait until the client has gone."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def watch(self) -> None:
        """Note when the client goes."""
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self.end()

    def end(self) -> None:
        """Note that the request is over."""
        self._gone.set()
        if self._call is not None:
            self._call.end()
