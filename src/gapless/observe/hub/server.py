"""The HTTP side of the reference hub: who asks, what they may, and the answer in JSON."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from gapless.errors import CatalogBusy, GaplessError, NotFound, StateError, UsageError
from gapless.observe.hub.ledger import HubLedger, Person

MAX_BODY_BYTES = 1 << 20
_LOG = logging.getLogger("gapless.observe.hub")
_PREFIX = ["api", "luckyengine", "tasks"]
_SILENT_S = 30.0  # a peer that says nothing for so long is left
_STATUS: list[tuple[type[GaplessError], int]] = [
    (CatalogBusy, 503),  # before StateError, of which it is one: it passes, a conflict does not
    (NotFound, 404),
    (StateError, 409),
    (UsageError, 400),
]
Reply = tuple[int, Any]


class Hub:
    """A hub that listens while it is entered. ``port`` 0: one that is free; ``manual``: a person approves.

    Raises OSError when the address cannot be had, and what :class:`HubLedger` raises.
    """

    def __init__(
        self,
        database: Path | str,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        manual: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.ledger = HubLedger(database)
        self.manual = manual
        try:
            self._server = _Server((host, port), self, tls)
        except BaseException:
            self.ledger.close()
            raise
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'http' if tls is None else 'https'}://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="gapless-hub-server"
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.ledger.close()


class _Server(ThreadingHTTPServer):
    """Answers each connection on a thread of its own; the handshake too, so that no peer keeps others waiting."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], hub: Hub, tls: ssl.SSLContext | None) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.hub = hub
        super().__init__(address, _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind without asking a name server for this machine's name, which can take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a connection that broke."""
        del request
        _LOG.warning("the connection of %s broke", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENT_S
    server_version = "gapless-hub"
    sys_version = ""
    _data = b""

    def do_GET(self) -> None:
        """Answer what reads."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer what changes something."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
        """Log a request; its line holds no token."""
        _LOG.info("%s " + format, self.address_string(), *args)

    def _answer(self, act: Callable[[Person, list[str]], Reply]) -> None:
        try:
            status, reply = self._checked(act)
        except GaplessError as error:
            status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
            reply = {"error": type(error).__name__, "message": str(error)}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(data)

    def _checked(self, act: Callable[[Person, list[str]], Reply]) -> Reply:
        """Take the body, which a peer must be rid of before it reads an answer; then find out who asks."""
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdecimal()) or len(length) > 10 or int(length) > MAX_BODY_BYTES:
            return 413, {"error": "TooLarge", "message": f"a body has at most {MAX_BODY_BYTES} bytes"}
        self._data = self.rfile.read(int(length))
        if len(self._data) < int(length):
            raise UsageError("the body ended before its length", found=len(self._data), expected=int(length))
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        person = self.server.hub.ledger.person(token.strip()) if scheme.lower() == "bearer" else None
        if person is None:
            return 401, {
                "error": "NotAuthenticated",
                "message": "the hub does not know the token, or it has ended",
            }
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:3] != _PREFIX:
            return _no_such_place()
        return act(person, parts[3:])

    def _get(self, person: Person, parts: list[str]) -> Reply:
        del person
        ledger = self.server.hub.ledger
        match parts:
            case []:
                return 200, {"tasks": ledger.tasks()}
            case [task_id]:
                return 200, ledger.task(task_id)
            case [task_id, "episodes"]:
                return 200, {"id": task_id, "episodes": ledger.episodes(task_id)}
        return _no_such_place()

    def _post(self, person: Person, parts: list[str]) -> Reply:
        match parts:
            case []:
                return self._create(person)
            case [task_id, "episodes", "submit"]:
                return self._report(person, task_id, self.server.hub.ledger.submit, "executionMetadata")
            case [task_id, "stop"]:
                return self._report(person, task_id, self.server.hub.ledger.stop, "summary")
            case [task_id, ("approve" | "reject") as verdict]:
                return self._decide(person, task_id, verdict)
        return _no_such_place()

    def _create(self, person: Person) -> Reply:
        hub = self.server.hub
        task = hub.ledger.create_task(person.name, self._body(), approved=not hub.manual)
        return 202 if hub.manual else 201, {"id": task["id"], "status": task["status"]}

    def _report(
        self,
        person: Person,
        task_id: str,
        keep: Callable[[str, str, dict[str, Any]], dict[str, Any]],
        field: str,
    ) -> Reply:
        key = self.headers.get("Idempotency-Key", "")
        if not 0 < len(key) <= 200:
            raise UsageError(
                "a report needs the header Idempotency-Key of at most 200 characters", found=repr(key)
            )
        content = self._body().get(field)
        if not isinstance(content, dict):
            raise UsageError("the body lacks an object", field=field)
        if self.server.hub.ledger.task(task_id)["owner"] != person.name:
            return 403, {"error": "Forbidden", "message": "the task belongs to another token"}
        return 200, keep(task_id, key, content)

    def _decide(self, person: Person, task_id: str, verdict: str) -> Reply:
        if not person.approver:
            return 403, {"error": "Forbidden", "message": "the token may not decide on tasks"}
        reason = self._body().get("reason")
        if reason is not None and not isinstance(reason, str):
            raise UsageError("a reason is text", field="reason", found=repr(reason))
        status = "approved" if verdict == "approve" else "rejected"
        return 200, self.server.hub.ledger.decide(task_id, status, reason)

    def _body(self) -> dict[str, Any]:
        """Return the body as a JSON object, an empty one for none; raises UsageError."""
        try:
            found = json.loads(self._data or b"{}")
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is no JSON", found=str(error)) from error
        if not isinstance(found, dict):
            raise UsageError("the body is no JSON object", found=type(found).__name__)
        return found


def _no_such_place() -> Reply:
    return 404, {"error": "NotFound", "message": "there is nothing at this address"}
