"""The pages' templates, filled in: what stands in them is names and the session's token, never data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

import gapless.serve.web
from gapless._version import __version__

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from gapless.serve.http.asking import HttpCall
    from gapless.serve.http.site import Site

WEB: Final = Path(gapless.serve.web.__file__).parent


def parts_for(site: Site, call: HttpCall | None) -> list[str]:
    """Return the parts of the page that there are for a caller; None, one who is not let in, sees none."""
    if call is None:
        return []
    whole = call.access.groups is None  # a hub knows of no groups
    return ["sequences", "live", "features", *(["hub"] if site.hub is not None and whole else [])]


def filled(
    template: str,
    connection: HTTPConnection,
    call: HttpCall | None,
    *,
    page: str = "",
    status: int = 200,
    **words: Any,
) -> HTMLResponse:
    """Return a page. Every template gets request, site, page, status, parts, csrf, asks_for_keys, version, ``words``.

    ``page``: the part that it belongs to, "" for none.
    """
    site: Site = connection.app.state.site
    words |= {
        "request": connection,
        "site": site,
        "page": page,
        "status": status,
        "parts": parts_for(site, call),
        "csrf": "" if call is None else call.csrf,
        "asks_for_keys": site.asks_for_keys(),
        "version": __version__,
    }
    return HTMLResponse(_environment().get_template(template).render(words), status)


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(WEB / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)
