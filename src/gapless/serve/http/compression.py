"""Answers made small on their way: text that a browser reads, and nothing that is small already."""

from __future__ import annotations

import zlib
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gapless.serve.http.threads import OwnThreads

_TEXT: Final = frozenset(
    {"application/json", "text/html", "text/css", "text/javascript", "application/javascript"}
)
_LEAST_BYTES: Final = 1024
_LARGE_BYTES: Final = 128 << 10  # packed on a thread: it would hold up all other requests
_THREADS: Final = 2
_LEVEL: Final = 5
_GZIP: Final = 31  # zlib's word for the largest window within a gzip frame


class Compression:
    """An ASGI application around another: sends JSON, HTML, JavaScript and CSS as gzip to who takes it.

    Nothing else is touched: data and pictures are compressed by their own formats, and events must not wait.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._threads = OwnThreads(_THREADS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the other does."""
        if scope["type"] != "http" or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Smaller(send, self._threads))


class _Smaller:
    """One answer: its start is held back until its first piece says whether it is worth the work."""

    def __init__(self, send: Send, threads: OwnThreads) -> None:
        self._send = send
        self._threads = threads
        self._start: Message = {}
        self._packing: Any = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start:
            start, self._start = self._start, {}
            await self._begin(start, body, more=more)
        if self._packing is not None and len(body) > _LARGE_BYTES:
            body = await self._threads.run(self._packed, body, more)
        elif self._packing is not None:
            body = self._packed(body, more)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _packed(self, body: bytes, more: bool) -> bytes:
        end = zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH
        packed: bytes = self._packing.compress(body) + self._packing.flush(end)
        return packed

    async def _begin(self, start: Message, body: bytes, *, more: bool) -> None:
        headers = MutableHeaders(raw=list(start["headers"]))
        kind = headers.get("content-type", "").partition(";")[0].strip()
        if start["status"] == 200 and kind in _TEXT and "content-encoding" not in headers:
            headers.add_vary_header("Accept-Encoding")
            if more or len(body) >= _LEAST_BYTES:
                self._packing = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
                del headers["content-length"]
                headers["Content-Encoding"] = "gzip"
                if headers.get("etag", "").startswith('"'):
                    headers["ETag"] = f"W/{headers['etag']}"
        await self._send({**start, "headers": headers.raw})
