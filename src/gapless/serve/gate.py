"""The gate before all doors: each request shows its key and is counted before anything of it is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pyarrow import flight

from gapless.errors import KeyRefused
from gapless.serve.call import Call
from gapless.serve.operations.log_lines import tell
from gapless.serve.refusal import code_of, refused

if TYPE_CHECKING:
    from gapless.serve.key_ring import KeyRing
    from gapless.serve.metrics import Metrics
    from gapless.serve.rights import Access
    from gapless.serve.traffic import Traffic

KEY_HEADER: Final = "mosaico-api-key-token"
_LOG = logging.getLogger("gapless.serve")
_STREAMS: Final = (flight.FlightMethod.DO_GET, flight.FlightMethod.DO_PUT, flight.FlightMethod.DO_EXCHANGE)


class Gate(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Lets requests in. One without a key that counts is answered Unauthenticated, one too many Unavailable."""

    def __init__(self, keys: KeyRing, traffic: Traffic, metrics: Metrics) -> None:
        super().__init__()
        self._keys = keys
        self.traffic = traffic
        self._metrics = metrics

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, Sequence[Any]]) -> Admission:
        """Let one request in, or raise what refuses it."""
        method = str(info.method.name).lower()
        self._metrics.add("gapless_requests_total", method=method)
        try:
            access = self._admitted(stream=info.method in _STREAMS, headers=headers)
        except BaseException as error:  # a thread of the transport: what is raised here is the answer
            code = code_of(error)
            self._metrics.add("gapless_requests_refused_total", method=method, code=code)
            tell(_LOG, logging.INFO, "refused", f"a {method} request was not let in: {code}", code=code)
            raise refused(error, f"a {method} request", _LOG) from error
        return Admission(self.traffic, access)

    def _admitted(self, *, stream: bool, headers: Mapping[str, Sequence[Any]]) -> Access:
        """Count the request, then look at its key, so that the bound holds for callers without one, too."""
        self.traffic.enter(stream=stream)
        try:
            return self._keys.access(token_of(headers))
        except BaseException:
            self.traffic.leave(None)
            raise


class Admission(flight.ServerMiddleware):  # type: ignore[misc]
    """One request that was let in, until the transport says that it is over."""

    def __init__(self, traffic: Traffic, access: Access) -> None:
        super().__init__()
        self._traffic = traffic
        self.access = access
        self._call: Call | None = None

    def name(self, call: Call) -> None:
        """Take the request's call, once it is known where it comes from; LimitReached for a connection too many."""
        self._traffic.name(call.peer, call.key_id)
        self._call = call

    def call_completed(self, exception: Exception | None) -> None:  # noqa: ARG002
        """Count the request as over; from here on its call never asks Arrow again."""
        if self._call is None:
            self._traffic.leave(None)
            return
        self._call.end()
        self._traffic.leave(self._call.peer, self._call.key_id)


def token_of(headers: Mapping[str, Sequence[Any]]) -> str | None:
    """Return the key that a request shows, or None; KeyRefused where it is shown twice or in another way."""
    shown = [*headers.get(KEY_HEADER, ())]
    for value in headers.get("authorization", ()):
        scheme, _, token = str(value).partition(" ")
        if scheme.lower() != "bearer":
            raise KeyRefused("the server knows no such authorization", found=scheme, expected="Bearer KEY")
        shown.append(token.strip())
    if len(set(shown)) > 1:
        raise KeyRefused("a request shows two keys")
    return str(shown[0]) if shown else None
