"""Whether a request may come in: by its key, by its session's cookie, or because the store asks for none."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from gapless.errors import CsrfRefused, KeyRefused, OriginRefused
from gapless.serve.gate import token_of
from gapless.serve.http.sessions import Session, cookie_name, same
from gapless.serve.http.site import Site
from gapless.serve.rights import Access

CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FOREIGN: Final = frozenset({"cross-site", "same-site"})
CSRF_HEADER: Final = "X-CSRF-Token"


def check_page(site: Site, headers: Headers, method: str, scheme: str) -> None:
    """Raise HostRefused or OriginRefused unless the request is for this server, and not made by a foreign page.

    ``method`` "" is a WebSocket. A link on a foreign page may be followed: that only shows a page.
    """
    host = site.hosts.check_host(headers.get("host"))
    origin = headers.get("origin")
    if origin is not None:
        site.hosts.check_origin(origin, host, scheme)
    followed = headers.get("sec-fetch-mode") == "navigate" and method not in CHANGES
    if headers.get("sec-fetch-site") in _FOREIGN and not followed:
        raise OriginRefused("a page of another site asks", found=headers["sec-fetch-site"])


def let_in(site: Site, headers: Headers, method: str) -> tuple[Access, Session | None]:
    """Return what the caller may do, and the session of their cookie if that is what lets them in.

    Raises KeyRefused, and CsrfRefused for a browser's change without the token that its pages know: a key in a
    header is put there by a program or page on purpose, a cookie comes along by itself.
    """
    token = _token_of(headers)
    if token is not None:
        return site.access(token), None
    access, session = _resumed(site, headers) or (site.access(None), None)
    check_token(site, headers, method, session)
    return access, session


def check_token(site: Site, headers: Headers, method: str, session: Session | None) -> None:
    """Raise CsrfRefused for a browser's change without its page's token; who shows a key needs none."""
    if method not in CHANGES or _token_of(headers) is not None or not (session or _is_browser(headers)):
        return
    expected = site.sessions.open_csrf if session is None else session.csrf
    if not same(expected, headers.get(CSRF_HEADER)):
        raise CsrfRefused("the page's token does not count", expected=f"the token in {CSRF_HEADER}")


def shown_by(site: Site, headers: Headers) -> str:
    """Return what a request lets itself in with: its key, else its cookie, else nothing."""
    token = _token_of(headers)
    return f"key {token}" if token is not None else f"cookie {cookie_of(site, headers) or ''}"


def _resumed(site: Site, headers: Headers) -> tuple[Access, Session] | None:
    """Return what the session of a request's cookie lets in; None without one, KeyRefused once its key is over."""
    cookie = cookie_of(site, headers)
    session = None if cookie is None else site.sessions.find(cookie)
    if cookie is None or session is None:
        return None
    try:
        return site.resume(session.key_id), session
    except KeyRefused as error:
        if error.__cause__ is None:  # the key counts no longer; else it cannot be looked at now
            site.sessions.end(cookie)
        raise


def cookie_of(site: Site, headers: Headers) -> str | None:
    """Return the session cookie that a request shows."""
    # Not SimpleCookie: it stops at the first cookie of another program on this host that it does not understand.
    return cookie_parser(headers.get("cookie", "")).get(cookie_name(site.served.store_uid))


def _token_of(headers: Headers) -> str | None:
    return token_of({name: headers.getlist(name) for name in set(headers.keys())})


def _is_browser(headers: Headers) -> bool:
    return "origin" in headers or "sec-fetch-site" in headers
