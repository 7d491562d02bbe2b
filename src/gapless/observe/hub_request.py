"""One HTTP request with one deadline: name lookup aside, nothing that a peer does makes it last longer.

Standard library only. A redirect is never followed, an answer has at most :data:`MAX_BODY_BYTES`, and no error
text holds the token, also where it quotes an answer that does.
"""

from __future__ import annotations

import html
import http.client
import io
import json
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

from gapless.errors import HubFailed, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_BODY_BYTES = 1 << 20
_EXCERPT = 200  # characters of an answer that an error repeats
_Result = TypeVar("_Result")
_SLICE_S = 0.1  # how soon a wait notices that it was called off


@dataclass(frozen=True)
class Answer:
    """What the hub said: the status, and its body as text. ``secret``: what no quotation of it repeats."""

    status: int
    text: str
    secret: str = field(default="", repr=False)

    @property
    def excerpt(self) -> str:
        """The status and the begin of the body on one line, for people."""
        return f"{self.status} {self.quote(self.text)}".rstrip()

    def quote(self, text: str) -> str:
        """Return the begin of a part of the answer on one line, for people."""
        words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return without_secret(words, self.secret)[:_EXCERPT]

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object; raises HubFailed for anything else."""
        try:
            found = json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise HubFailed("the hub's answer is no JSON", found=self.excerpt) from error
        if not isinstance(found, dict):
            raise HubFailed("the hub's answer is no JSON object", found=self.excerpt)
        return found


class Patience:
    """How long one request may last: ``timeout_s`` from now, or until ``called_off``."""

    def __init__(self, timeout_s: float, called_off: threading.Event | None = None) -> None:
        self._end = time.monotonic() + timeout_s
        self._called_off = called_off or threading.Event()

    def slice_s(self) -> float:
        """Return how long to wait before asking again; raises TimeoutError when it is over."""
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no whole answer in time")
        if self._called_off.is_set():
            raise TimeoutError("called off")
        return min(left_s, _SLICE_S)


def hub_address(url: str) -> SplitResult:
    """Return the parts of a hub's URL; raises UsageError unless it is http(s)://host[:port][/path]."""
    try:
        parts = urlsplit(url.rstrip("/"))
        port_is_number = parts.port is None or parts.port > 0
    except ValueError as error:
        raise UsageError("this is no address of a hub", field="url", found=str(error)) from error
    clean = parts.username is None and parts.password is None and not parts.query and not parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_number or not clean:
        raise UsageError(
            "this is no address of a hub",
            field="url",
            found=url if clean else "an address with a user, a query or a fragment",
            expected="http://HOST:PORT or https://HOST",
        )
    return parts


def without_secret(text: str, secret: str) -> str:
    """Return a text in which ``[token]`` stands for a secret, also for one that JSON, HTML or a URL escaped."""
    quoted = json.dumps(secret)[1:-1]
    forms = {
        secret,
        quoted,
        quoted.replace("/", "\\/"),
        html.escape(secret),
        quote(secret, safe=""),
        repr(secret)[1:-1],
    }
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = text.replace(form, "[token]")
    return text


def send(
    address: SplitResult,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: str | None,
    patience: Patience,
    secret: str = "",
) -> Answer:
    """Send one request and return the whole answer, whatever its status; raises HubFailed when there is none.

    ``secret``: what neither the error nor a quotation of the answer repeats.
    """
    place = f"{method} {address.scheme}://{address.netloc}{path}"
    connection = _Connection(address, patience)
    try:
        connection.putrequest(method, f"{address.path}{path}", skip_accept_encoding=True)
        for name, value in {**headers, "Connection": "close"}.items():
            connection.putheader(name, value)
        data = b"" if body is None else body.encode()
        if body is not None:
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        if data:
            connection.send(data)
        answer = _read(connection, secret)
    except TimeoutError as error:
        raise HubFailed("the hub did not answer in time", found=f"{place}: {error}") from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        words = without_secret(f"{place}: {type(error).__name__}: {error}", secret)
        raise HubFailed("the hub did not answer as agreed", found=words) from None
    finally:
        connection.close()
    if 300 <= answer.status < 400:
        raise HubFailed("the hub redirects, which is refused", found=f"{place}: {answer.status}")
    return answer


class _Connection(http.client.HTTPConnection):
    """A connection whose every wait asks the patience of its request."""

    def __init__(self, address: SplitResult, patience: Patience) -> None:
        default = 443 if address.scheme == "https" else 80
        super().__init__(str(address.hostname), address.port or default)
        self._tls = address.scheme == "https"
        self._patience = patience
        self.response_class = self._response  # type: ignore[assignment]  # called like the class it stands for

    def connect(self) -> None:
        """Connect to the first address that answers, and shake hands where the scheme is https."""
        self.sock = _connected(self.host, self.port, self._patience)
        if self._tls:
            context = ssl.create_default_context()
            self.sock = secured = context.wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self._patiently(secured.do_handshake)

    def send(self, data: Any) -> None:
        """Send all of some bytes."""
        if self.sock is None:
            self.connect()
        view = memoryview(data)
        while view:
            view = view[self._patiently(partial(self.sock.send, view)) :]

    def _patiently(self, act: Callable[[], _Result]) -> _Result:
        return _patiently(self.sock, self._patience, act)

    def _response(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_PatientFile(sock, self._patience), **options)  # type: ignore[arg-type]


class _PatientFile(io.RawIOBase):
    """What an HTTP response reads from: a socket of which each receive asks the patience."""

    def __init__(self, sock: socket.socket, patience: Patience) -> None:
        self._sock = sock
        self._patience = patience
        # http.client closes the socket before it reads the body; a file of it keeps it open.
        self._hold = sock.makefile("rb", buffering=0)

    def close(self) -> None:
        """Let go of the socket."""
        self._hold.close()
        super().close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a buffered reader, as ``socket.makefile`` does."""
        del mode
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Receive some bytes; raises TimeoutError when the patience is over."""
        return _patiently(self._sock, self._patience, lambda: self._sock.recv_into(buffer))


def _patiently(sock: socket.socket, patience: Patience, act: Callable[[], _Result]) -> _Result:
    """Return what an operation of a socket returns; raises TimeoutError when the patience is over before."""
    while True:
        sock.settimeout(patience.slice_s())
        try:
            return act()
        except TimeoutError:
            patience.slice_s()  # raises when it is over; else the operation goes on where it was


def _connected(host: str, port: int, patience: Patience) -> socket.socket:
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            _wait_connected(sock, address, patience)
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _wait_connected(sock: socket.socket, address: Any, patience: Patience) -> None:
    patience.slice_s()
    sock.settimeout(0.0)
    try:
        sock.connect(address)
    except BlockingIOError:
        with selectors.DefaultSelector() as waiting:
            waiting.register(sock, selectors.EVENT_WRITE)
            while not waiting.select(patience.slice_s()):
                pass
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, "cannot connect") from None


def _read(connection: _Connection, secret: str) -> Answer:
    pieces: list[bytes] = []
    size = 0
    with connection.getresponse() as response:
        while size <= MAX_BODY_BYTES and (piece := response.read(1 << 16)):
            pieces.append(piece)
            size += len(piece)
        missing = response.length
    if size > MAX_BODY_BYTES:
        raise http.client.HTTPException(f"the answer has more than {MAX_BODY_BYTES} bytes")
    if missing:
        raise http.client.IncompleteRead(b"".join(pieces)[:_EXCERPT], missing)
    return Answer(response.status, b"".join(pieces).decode(errors="replace"), secret)
