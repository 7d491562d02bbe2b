"""The files of the pages: ours, and Bokeh's from its installed package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gapless.errors import NotFound
from gapless.serve.http.templates import WEB

_FRESH: Final = {
    "Cache-Control": "no-cache"
}  # kept, and asked about each time: an ETag says whether it holds
_BOKEH: Final = ("bokeh.min.js", "bokeh-api.min.js", "bokeh-gl.min.js")


def _bokeh_folder() -> Path:
    """Return where Bokeh keeps its scripts; it is not imported, which takes a second."""
    spec = find_spec("bokeh")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'bokeh'", name="bokeh")
    return Path(spec.origin).parent / "server" / "static" / "js"


_BOKEH_FOLDER: Final = _bokeh_folder()  # at once: without it there is no page


def static_routes() -> list[Route | Mount]:
    """Return the routes of all files."""
    return [
        Route("/static/bokeh/{file}", _bokeh, methods=["GET", "HEAD"], include_in_schema=False),
        Mount("/static", Files(directory=WEB / "static", follow_symlink=False), name="static"),
    ]


class Files(StaticFiles):
    """Our files; a browser asks each time whether its own are still the right ones."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that the browser has it."""
        response = await super().get_response(path, scope)
        response.headers.update(_FRESH)
        return response


async def _bokeh(request: Request) -> Response:
    file = request.path_params["file"]
    if file not in _BOKEH:
        raise NotFound("there is no such file", found=file, expected=", ".join(_BOKEH))
    return await Files(directory=_BOKEH_FOLDER).get_response(file, request.scope)
