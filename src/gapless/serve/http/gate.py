"""The gate before all routes: who may not ask learns no more than that, whichever path was meant.

It looks at host, origin and key, takes the body whole, and stays beside the request until its answer is over:
it notices when the client has gone, and ends what may go on no longer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import ExitStack, suppress
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from gapless.errors import GaplessError, KeyRefused, LimitReached, ServerClosing
from gapless.serve.http.asking import CALL, HttpCall
from gapless.serve.http.credentials import CHANGES, check_page, let_in
from gapless.serve.http.downloads import Downloads
from gapless.serve.http.early_end import deny, end_early
from gapless.serve.http.parties import Client, Sent
from gapless.serve.http.refusal import known
from gapless.serve.http.refused import PAGE, answer, route_of
from gapless.serve.http.request_body import read_body
from gapless.serve.http.room import visit_of
from gapless.serve.http.running import Running
from gapless.serve.http.sessions import Session
from gapless.serve.http.shares import Shares
from gapless.serve.http.site import Site
from gapless.serve.http.threads import OwnThreads
from gapless.serve.http.urgent_entry import UrgentEntry
from gapless.serve.rights import Access, Right

_LOG = logging.getLogger("gapless.serve")
_OPEN: Final = frozenset({"/healthz", "/readyz", "/metrics"})  # these have a rule of their own
_FOR_ALL: Final = ("/static/", "/login", "/favicon")
_SESSION: Final = "/api/v1/session"
_LOGIN: Final = ("POST", _SESSION)
_URGENT: Final = re.compile(r"/api/v1/live/[^/]+/emergency-stop")  # never refused because others ask much
_DATA: Final = re.compile(r"/api/v1/sequences/[^/]+/topics/[^/]+/data")
_PAGED: Final = "json"  # the form of it that has an end soon
_STRANGER_BYTES: Final = 8 << 10  # of a request that shows no key yet
_BYTES: Final = 64 << 10  # of any other, as of a run's own socket: parsed on the loop in a moment
_CHECKS: Final = 4  # threads that look at keys


class Gate:
    """An ASGI application in front of ``app``. Routes match on the path as it was sent, still encoded."""

    def __init__(self, app: FastAPI, site: Site) -> None:
        self._app = app
        self._site = site
        self._shares = Shares()
        self._downloads = Downloads()
        self._checks = OwnThreads(_CHECKS)
        self._urgent = UrgentEntry(site)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hold one WebSocket until it ends."""
        if scope["type"] not in ("http", "websocket"):
            return
        scope["app"] = self._app
        scope["path"] = scope["raw_path"].decode("ascii")
        sent = Sent(send)
        try:
            if scope["type"] == "http" and scope["path"] in _OPEN:
                scope[PAGE] = scope["path"]
                await self._app(scope, receive, sent)
            elif scope["type"] == "http":
                await self._request(scope, receive, sent)
            else:
                await self._websocket(scope, receive, sent)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the request's boundary: told and logged, never shown
            await self._failed(scope, error, sent)
        finally:
            page = route_of(scope)
            self._site.served.metrics.add("gapless_http_requests_total", page=page, status=sent.status)

    async def _request(self, scope: Scope, receive: Receive, sent: Sent) -> None:
        connection = HTTPConnection(scope)
        headers, path, method = connection.headers, scope["path"], scope["method"]
        try:
            check_page(self._site, headers, method, scope["scheme"])
            call = None
            if not (path.startswith(_FOR_ALL) or (method, path) == _LOGIN):
                call = await self._admitted(connection, method)
                scope[CALL] = call
            body = await read_body(headers, receive, _STRANGER_BYTES if call is None else _BYTES)
        except GaplessError as error:
            unread = {"content-length", "transfer-encoding"} & set(headers)
            closes = unread or isinstance(error, LimitReached)
            refusal = answer(connection, error, headers={"Connection": "close"} if closes else None)
            await refusal(scope, receive, sent)
            return
        client = Client(receive, body, call)
        watch = asyncio.create_task(client.watch())
        try:
            await self._counted(scope, client.receive, sent, call)
        finally:
            watch.cancel()
            client.end()

    async def _websocket(self, scope: Scope, receive: Receive, sent: Sent) -> None:
        connection = HTTPConnection(scope)
        scheme = {"ws": "http", "wss": "https"}[scope["scheme"]]
        try:
            check_page(self._site, connection.headers, "", scheme)
            scope[CALL] = call = await self._admitted(connection, "")
        except GaplessError as error:
            await receive()
            await deny(scope, sent, error)
            return

        async def listened() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                call.end()
            return message

        try:
            with suppress(WebSocketDisconnect):
                await self._counted(scope, listened, sent, call)
        finally:
            call.end()

    async def _admitted(self, connection: HTTPConnection, method: str) -> HttpCall:
        """Return the call of a request that may come in. What is urgent has ways of its own, and always room.

        Who may only read is told so before the body of what they want to change is read.
        """
        urgent = _is_urgent(connection.scope)
        if self._site.served.draining.is_set() and not urgent:
            raise ServerClosing("the server is going down")
        access, session = await self._let_in(connection.headers, method, urgent=urgent)
        client = connection.client
        peer = "" if client is None else f"http:{client.host}:{client.port}"
        call = HttpCall(self._site, access, peer, session)
        if method in CHANGES and connection.scope["path"] != _SESSION:
            call.require(Right.WRITE)
        if not urgent:
            visit = visit_of(connection.scope)
            visit.admit(call.key_id or visit.peer)
        return call

    async def _let_in(self, headers: Headers, method: str, *, urgent: bool) -> tuple[Access, Session | None]:
        """Return what the caller may do and their session, and keep it in mind for when it is urgent."""
        try:
            if urgent:
                return await self._urgent.let_in(headers, method)
            entry = await self._checks.run(let_in, self._site, headers, method)
        except KeyRefused as error:
            if isinstance(
                error.__cause__, GaplessError
            ):  # the keys cannot be read: that is no fault of this one
                raise error.__cause__ from error
            self._urgent.forget(headers)
            raise
        self._urgent.note(headers, entry)
        return entry

    async def _counted(self, scope: Scope, receive: Receive, sent: Sent, call: HttpCall | None) -> None:
        """Let the application answer; count the call, so that a server that drains waits for it."""
        if call is None:
            await self._app(scope, receive, sent)
            return
        with visit_of(scope).kept():
            if _is_urgent(scope):
                await self._app(scope, receive, sent)
            else:
                await self._cuttable(scope, receive, sent, call)

    async def _cuttable(self, scope: Scope, receive: Receive, sent: Sent, call: HttpCall) -> None:
        """Let the application answer, until the call is cut."""
        self._site.traffic.enter(stream=True)
        sent.running = running = Running(call, endless=scope["type"] == "websocket")
        self._site.running.add(running)
        try:
            await self._shared(scope, receive, sent, call)
        except asyncio.CancelledError:
            if running.ended_by is None:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            await end_early(scope, sent, running.ended_by)
        finally:
            self._site.running.remove(running)
            self._site.traffic.leave(None)

    async def _shared(self, scope: Scope, receive: Receive, sent: Sent, call: HttpCall) -> None:
        """Let the application answer when it is the caller's turn; streams take no turns, and are counted."""
        caller = call.key_id or visit_of(scope).peer
        with ExitStack() as ending:

            def follow() -> None:
                self._shares.follow(caller)
                ending.callback(self._shares.unfollow, caller)
                sent.take_no_turns()

            if scope["type"] == "websocket":
                follow()
            else:
                if _is_download(scope):
                    await self._downloads.begin(caller, ending)
                sent.share = await self._shares.take(caller)
                sent.on_events = follow
                ending.callback(sent.take_no_turns)
            await self._app(scope, receive, sent)

    async def _failed(self, scope: Scope, error: BaseException, sent: Sent) -> None:
        """Tell the client of an error that no route has told, as far as that is still possible."""
        if sent.complete:  # it was the answer, and is logged
            return
        what = f"{scope.get('method', 'WebSocket')} {route_of(scope)}"
        found = error.__cause__ if isinstance(error.__cause__, GaplessError) else error
        told = known(found, what, _LOG, draining=self._site.served.draining.is_set())
        _LOG.info("%s ended before its answer was whole: %s", what, told.code)
        await end_early(scope, sent, told)


def _is_urgent(scope: Scope) -> bool:
    return scope["type"] == "http" and _URGENT.fullmatch(scope["path"]) is not None


def _is_download(scope: Scope) -> bool:
    form = QueryParams(scope["query_string"]).get("format", _PAGED)
    return form != _PAGED and _DATA.fullmatch(scope["path"]) is not None
