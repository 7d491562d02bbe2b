"""A browser's session: begun with a key, ended by whoever began it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Annotated, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from gapless.errors import KeyRefused, LimitReached
from gapless.serve.http.asking import Asking
from gapless.serve.http.credentials import cookie_of
from gapless.serve.http.sessions import LONGEST_S, cookie_name
from gapless.serve.http.site import Site
from gapless.serve.keys import key_id_of
from gapless.serve.rights import Access

router = APIRouter(tags=["server"])
_TRIES: Final = 10
_SPAN_S: Final = 60.0
_PEERS: Final = 1000
_SLOW_S: Final = 0.5


class KeyShown(BaseModel):
    """What a session is begun with."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=1000, description="an API key, as `gapless keys make` printed it")


class SessionTold(BaseModel):
    """What a session may do."""

    right: str
    groups: list[str] | None
    csrf: str = Field(description="what a browser shows in X-CSRF-Token with each change")


class Tries:
    """Counts wrong keys of each peer, so that trying costs time. A right key is never kept out by wrong ones."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, peer: str) -> None:
        """Count a wrong key; LimitReached for one more than 10 within a minute."""
        now_s = self._clock()
        with self._lock:
            wrong = self._wrong.setdefault(peer, deque(maxlen=_TRIES + 1))
            self._wrong.move_to_end(peer)
            while len(self._wrong) > _PEERS:
                self._wrong.popitem(last=False)
            while wrong and now_s - wrong[0] > _SPAN_S:
                wrong.popleft()
            wrong.append(now_s)
            many = len(wrong) > _TRIES
        if many:
            raise LimitReached("too many wrong keys came from there", next_step="wait a minute")


def _tries(request: Request) -> Tries:
    tries: Tries = request.app.state.tries
    return tries


@router.get("/session")
def told(call: Asking) -> SessionTold:
    """Tell what the caller's session may do; also without a cookie, for who is let in in another way."""
    return _told(call.access, call.csrf)


@router.post("/session")
async def begin(
    request: Request, response: Response, body: KeyShown, tries: Annotated[Tries, Depends(_tries)]
) -> SessionTold:
    """Begin a session; its cookie is `gapless_session_` and the first part of the store's uid."""
    site: Site = request.app.state.site
    peer = request.client.host if request.client else ""
    try:
        access = await run_sync(site.access, body.key)
    except KeyRefused:
        tries.note(peer)
        await run_sync(site.served.audit.add, key_id_of(body.key), f"http:{peer}", "login", "refused")
        await asyncio.sleep(_SLOW_S)
        raise
    if access.key_id is None:  # no key is asked for: there is nothing to keep behind a cookie
        return _told(access, site.sessions.open_csrf)
    cookie, session = site.sessions.begin(access.key_id)
    await run_sync(site.served.audit.add, access.key_id, f"http:{peer}", "login", "session")
    response.set_cookie(
        cookie_name(site.served.store_uid),
        cookie,
        max_age=int(LONGEST_S),
        httponly=True,
        samesite="strict",
        secure=_is_encrypted(request),
    )
    return _told(access, session.csrf)


@router.delete("/session", status_code=204)
def end(call: Asking, request: Request) -> Response:
    """End the caller's session; who has none has none afterwards, too."""
    cookie = cookie_of(call.site, request.headers)
    if cookie is not None and call.session is not None:
        call.site.sessions.end(cookie)
    response = Response(status_code=204)
    name, secure = cookie_name(call.served.store_uid), _is_encrypted(request)
    response.delete_cookie(name, httponly=True, samesite="strict", secure=secure)
    return response


def _is_encrypted(request: Request) -> bool:
    """Tell whether the browser speaks TLS: to this server, or to a proxy that the operator named."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")


def _told(access: Access, csrf: str) -> SessionTold:
    groups = None if access.groups is None else sorted(access.groups)
    return SessionTold(right=access.right.word, groups=groups, csrf=csrf)
