"""What a running server has beside its doors: pages, API, health and figures over HTTP, and retention."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gapless.serve.address import Address
from gapless.serve.operations.exposition import CONTENT_TYPE
from gapless.serve.operations.figures import Figures
from gapless.serve.operations.http_server import HttpServer, Page, Reply
from gapless.serve.operations.log_lines import tell
from gapless.serve.operations.readiness import Readiness
from gapless.serve.operations.retention import EVERY_S, Retention
from gapless.serve.server import DRAIN_S, Server

if TYPE_CHECKING:
    from gapless.serve.http.http_thread import HttpThread

HTTP_PORT: Final = 8686
#: What the extra ``serve`` brings.
_EXTRA: Final = frozenset(
    {"fastapi", "starlette", "uvicorn", "jinja2", "bokeh", "websockets", "h11", "anyio"}
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the operator shows on the page beside the store.

    ``pipelines``: their files, whose code runs when somebody looks; ``hub``: the ledger of an approval hub;
    ``hosts``: names by which the page is asked for, such as a proxy's.
    """

    pipelines: tuple[Path, ...] = ()
    hub: Path | None = None
    hosts: tuple[str, ...] = ()


class Operations:
    """Watches over a server that has started, and stops it.

    ``http`` None: nothing listens. A host that other machines reach asks for a key where the server does; every
    key may read. ``/healthz`` never asks. Raises StateError for a port that is taken.
    Pages and API are there when the extra ``serve`` is installed; without it, health and figures alone.
    """

    def __init__(
        self,
        server: Server,
        *,
        http: Address | None,
        tls: ssl.SSLContext | None = None,
        retention_s: float = EVERY_S,
        shown: Shown | None = None,
    ) -> None:
        self._server = server
        self._served = server.served
        self._figures = Figures(server)
        self._readiness = Readiness(server.served)
        self._retention = Retention(server.served, every_s=retention_s)
        self._page: HttpThread | None = None
        self._http: HttpThread | HttpServer | None = None
        if http is not None:
            self._http = self._page = self._pages(http, tls, shown or Shown())
        if http is not None and self._page is None:
            self._http = HttpServer(
                http, self._health_pages(), admit=self._admit(http), metrics=self._served.metrics, tls=tls
            )

    def _pages(self, http: Address, tls: ssl.SSLContext | None, shown: Shown) -> HttpThread | None:
        """Return the server of pages and API; None without the extra."""
        try:
            from gapless.serve.http.hosts import Hosts
            from gapless.serve.http.http_thread import HttpThread
            from gapless.serve.http.running import RunningCalls
            from gapless.serve.http.sessions import Sessions
            from gapless.serve.http.site import Site
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _EXTRA:
                raise
            return None
        site = Site(
            served=self._served,
            access=self._server.access,
            resume=self._server.resume,
            asks_for_keys=lambda: self._server.asks_for_keys,
            traffic=self._server.traffic,
            hosts=Hosts(http.host, shown.hosts),
            sessions=Sessions(),
            running=RunningCalls(),
            pipelines=shown.pipelines,
            hub=shown.hub,
        )
        return HttpThread(http, site, self._health_pages(), admit=self._admit(http), tls=tls)

    def _health_pages(self) -> Mapping[str, Page]:
        return {
            "/healthz": Page(self._health, for_all=True),
            "/readyz": Page(self._ready),
            "/metrics": Page(self._metrics),
        }

    def _admit(self, http: Address) -> Callable[[str | None], object]:
        return _everyone if http.is_loopback() else self._server.access

    @property
    def has_pages(self) -> bool:
        """Whether there are pages and the API, not only health and figures."""
        return self._page is not None

    @property
    def url(self) -> str | None:
        """Where it listens."""
        return None if self._http is None else self._http.url

    def start(self) -> None:
        """Begin to answer, and to take away what is past keeping."""
        if self._http is not None:
            self._http.start()
        self._retention.start()

    def stop(self, drain_s: float = DRAIN_S) -> bool:
        """End in order: readiness says no, streams end, the server drains, HTTP ends.

        Return whether the transport ended.
        """
        tell(self._served.log, logging.INFO, "drain", "the server is going down", seconds=drain_s)
        self._served.draining.set()
        if self._page is not None:
            self._page.end_streams()
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
