"""The application: every route behind one gate."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from gapless._version import __version__
from gapless.serve.http import pages
from gapless.serve.http.compression import Compression
from gapless.serve.http.gate import Gate
from gapless.serve.http.health import health_routes
from gapless.serve.http.login import Tries
from gapless.serve.http.questions import known_questions
from gapless.serve.http.refusal import documented
from gapless.serve.http.refused import install
from gapless.serve.http.security_headers import SecurityHeaders
from gapless.serve.http.site import Site
from gapless.serve.http.static_files import static_routes
from gapless.serve.operations.http_server import Page

API: Final = "/api/v1"
#: Each module has a ``router`` whose paths begin after the API's own.
ROUTERS: Final = (
    "gapless.serve.http.openapi",
    "gapless.serve.http.info",
    "gapless.serve.http.login",
    "gapless.serve.http.sequences",
    "gapless.serve.http.completions",
    "gapless.serve.http.sequence",
    "gapless.serve.http.topics",
    "gapless.serve.http.data",
    "gapless.serve.http.events",
    "gapless.serve.http.losses",
    "gapless.serve.http.quality",
    "gapless.serve.http.annotations",
    "gapless.serve.http.artifacts",
    "gapless.serve.http.curves",
    "gapless.serve.http.sparkline",
    "gapless.serve.http.pictures",
    "gapless.serve.http.video",
    "gapless.serve.http.live_list",  # /live/stream is not a run called stream
    "gapless.serve.http.live",
    "gapless.serve.http.live_samples",
    "gapless.serve.http.live_commands",
    "gapless.serve.http.feature_lineage",
    "gapless.serve.http.feature_runs",
    "gapless.serve.http.hub",
    "gapless.serve.http.jobs",
    "gapless.serve.http.models",
    "gapless.serve.http.pipelines",
)


def make_app(site: Site, health: Mapping[str, Page], admit: Callable[[str | None], object]) -> ASGIApp:
    """Return the application of a site. ``health``: pages by path for programs that watch, let in by ``admit``."""
    app = FastAPI(
        title="gapless",
        version=__version__,
        description="Sequences, live recordings, features and approvals of one store.",
        openapi_url=None,  # ours is made on a thread; and its readers load scripts from other sites
        redirect_slashes=False,
    )
    app.state.site = site
    app.state.tries = Tries()
    install(app)
    app.router.routes.extend(_plain(health, admit))
    for name in ROUTERS:
        router: APIRouter = importlib.import_module(name).router
        app.include_router(
            router, prefix=API, dependencies=[Depends(known_questions)], responses=documented()
        )
    app.include_router(pages.router)
    return SecurityHeaders(Compression(Gate(app, site)))


def _plain(health: Mapping[str, Page], admit: Callable[[str | None], object]) -> Sequence[BaseRoute]:
    return [*health_routes(health, admit), *static_routes()]
