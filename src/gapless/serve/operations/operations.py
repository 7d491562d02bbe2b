"""What a running server has beside its doors: health and figures over HTTP, and retention."""

from __future__ import annotations

import logging
import ssl
from typing import Final

from gapless.serve.address import Address
from gapless.serve.operations.exposition import CONTENT_TYPE
from gapless.serve.operations.figures import Figures
from gapless.serve.operations.http_server import HttpServer, Page, Reply
from gapless.serve.operations.log_lines import tell
from gapless.serve.operations.readiness import Readiness
from gapless.serve.operations.retention import EVERY_S, Retention
from gapless.serve.server import DRAIN_S, Server

HTTP_PORT: Final = 8686


class Operations:
    """Watches over a server that has started, and stops it.

    ``http`` None: nothing listens. A host that other machines reach asks for a key where the server does; every
    key may read. ``/healthz`` never asks. Raises StateError for a port that is taken.
    """

    def __init__(
        self,
        server: Server,
        *,
        http: Address | None,
        tls: ssl.SSLContext | None = None,
        retention_s: float = EVERY_S,
    ) -> None:
        self._server = server
        self._served = server.served
        self._figures = Figures(server)
        self._readiness = Readiness(server.served)
        self._retention = Retention(server.served, every_s=retention_s)
        self._http = None if http is None else self._listening(http, tls)

    def _listening(self, http: Address, tls: ssl.SSLContext | None) -> HttpServer:
        pages = {
            "/healthz": Page(self._health, for_all=True),
            "/readyz": Page(self._ready),
            "/metrics": Page(self._metrics),
        }
        admit = _everyone if http.is_loopback() else self._server.access
        return HttpServer(http, pages, admit=admit, metrics=self._served.metrics, tls=tls)

    @property
    def url(self) -> str | None:
        """Where the pages are."""
        return None if self._http is None else self._http.url

    def start(self) -> None:
        """Begin to answer, and to take away what is past keeping."""
        if self._http is not None:
            self._http.start()
        self._retention.start()

    def stop(self, drain_s: float = DRAIN_S) -> bool:
        """End in order: readiness says no, the server drains, HTTP ends. Return whether the transport ended."""
        tell(self._served.log, logging.INFO, "drain", "the server is going down", seconds=drain_s)
        self._served.draining.set()
        self._retention.stop()
        try:
            ended = self._server.stop(drain_s)
        finally:
            if self._http is not None:
                self._http.stop()
        tell(self._served.log, logging.INFO, "stopped", "the server is down", in_time=ended)
        return ended

    def _health(self) -> Reply:
        return Reply.of(200, {"status": "alive"})

    def _ready(self) -> Reply:
        problem = self._readiness.problem()
        if problem is not None:
            return Reply.of(503, {"status": "not ready", "reason": problem})
        return Reply.of(200, {"status": "ready"})

    def _metrics(self) -> Reply:
        return Reply(200, CONTENT_TYPE, self._figures.text().encode())


def _everyone(_token: str | None) -> None:
    """Let in whoever can connect: programs of this machine."""
