"""The body of a request: taken as a whole, up to a bound, before anything is done with it."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Receive

from gapless.errors import RequestTooLarge, ServerClosing, UsageError

_SILENT_S: Final = 10.0  # between two pieces of a body
_WHOLE_S: Final = 30.0  # for all of it


async def read_body(headers: Headers, receive: Receive, most_bytes: int) -> bytes:
    """Return the body. Raises RequestTooLarge as soon as it is above the bound, UsageError when it takes too long.

    One that says beforehand how large it is, is refused before any of it is read.
    """
    told = headers.get("content-length", "")
    if told.isascii() and told.isdecimal():
        _check(int(told), most_bytes)
    pieces: list[bytes] = []
    size_bytes = 0
    whole_at_s = asyncio.get_running_loop().time() + _WHOLE_S
    while True:
        try:
            async with asyncio.timeout_at(whole_at_s), asyncio.timeout(_SILENT_S):
                message = await receive()
        except TimeoutError as error:
            raise UsageError(
                "the rest of the request did not come", found=f"{size_bytes} bytes", expected=told or None
            ) from error
        if message["type"] == "http.disconnect":
            raise ServerClosing("the client left before its request was whole")
        pieces.append(message.get("body", b""))
        size_bytes += len(pieces[-1])
        _check(size_bytes, most_bytes)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _check(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise RequestTooLarge(
            "a request is larger than the server takes",
            found=f"{size_bytes} bytes",
            expected=f"at most {most_bytes}",
        )
