"""The pages: a frame with the names that its scripts ask the API about."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gapless.errors import KeyRefused, NotFound
from gapless.serve.http.asking import Asking
from gapless.serve.http.credentials import let_in
from gapless.serve.http.names import Name, PathName
from gapless.serve.http.site import Site
from gapless.serve.http.templates import filled, parts_for

router = APIRouter(include_in_schema=False, default_response_class=Response)


@router.get("/")
def sequences(request: Request, call: Asking) -> Response:
    """Show all sequences."""
    return filled("sequences.html", request, call, page="sequences")


@router.get("/sequences/{name}")
def sequence(request: Request, call: Asking, name: Name) -> Response:
    """Show one sequence."""
    return filled("sequence.html", request, call, page="sequences", name=name)


@router.get("/live")
def live(request: Request, call: Asking) -> Response:
    """Show what is being recorded."""
    return filled("live.html", request, call, page="live")


@router.get("/live/{name}")
def live_run(request: Request, call: Asking, name: Name) -> Response:
    """Show one recording that goes on."""
    return filled("live_run.html", request, call, page="live", name=name)


@router.get("/features")
def features(request: Request, call: Asking) -> Response:
    """Show pipelines, feature runs and models."""
    return filled("features.html", request, call, page="features")


@router.get("/features/{feature}/{run_id}")
def feature_run(request: Request, call: Asking, feature: PathName, run_id: PathName) -> Response:
    """Show one feature run."""
    return filled("feature_run.html", request, call, page="features", feature=feature, run_id=run_id)


@router.get("/hub")
def hub(request: Request, call: Asking) -> Response:
    """Show what waits for approval; NotFound where there is no hub for the caller."""
    if "hub" not in parts_for(call.site, call):
        raise NotFound("there is no hub here", next_step="start the server with `--hub FILE`")
    return filled("hub.html", request, call, page="hub")


@router.get("/login")
def login(request: Request) -> Response:
    """Ask for a key, unless none is asked for or the browser has shown one."""
    site: Site = request.app.state.site
    try:
        let_in(site, request.headers, "GET")
    except KeyRefused:
        return filled("login.html", request, None)
    return RedirectResponse(_inside(request.query_params.get("next", "/")), 303)


@router.get("/favicon.ico")
def favicon() -> Response:
    """Lead browsers that look for an icon of old to the one there is."""
    return RedirectResponse("/static/favicon.svg", 301)


def _inside(path: str) -> str:
    """Return a path on this server: what a link asks for may not lead elsewhere."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if plain and "\\" not in path else "/"
