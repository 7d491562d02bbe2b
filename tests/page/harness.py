"""A watched page of a served store in Debian's Chromium: what every browser test stands on.

:class:`Watch` notes whatever goes wrong in a page behind the test's back: words on the console, errors of
scripts, violations of the content security policy, failed requests, and requests that leave this machine.
:class:`Screen` opens pages of the site and says when they are at rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response
from tests.acquire.debian import find_program

from .served import DEADLINE_S, ROOT, Site, end, environment, recording_live, serving, until

__all__ = [
    "CHROMIUM", "DEADLINE_S", "NARROW", "ROOT", "WIDE", "Screen", "Site", "Watch", "end", "environment",
    "recording_live", "screen_on", "serving", "until",
]  # fmt: skip
CHROMIUM = find_program("chromium", "chromium")
WIDE, NARROW = (1440, 900), (390, 844)
_QUIET_LOOKS = 3  # looks in a row without a request on the way make a page at rest
_LOOK_MS = 50
_STREAMS = re.compile(r"/(stream|samples)(\?|$)|/video(\?|$)")  # requests that last as long as their page
_TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error(
  `content security policy: ${event.violatedDirective} refused ${event.blockedURI || "inline"}`
  + ` at ${event.sourceFile}:${event.lineNumber}`));
"""
_AXE_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
_SERIOUS = ("serious", "critical")


@dataclass
class Watch:
    """What went wrong in a page, in order; :meth:`allow` names what a test means to happen."""

    origin: str
    faults: list[str] = field(default_factory=list)
    under_way: set[Request] = field(default_factory=set)
    _answered_once: set[str] = field(
        default_factory=set
    )  # what is asked for again is a view that renews itself
    _allowed: list[re.Pattern[str]] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        """Listen to a page from now on."""
        page.on("framenavigated", lambda _: self._answered_once.clear())
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("request", self._asked)
        page.on("requestfinished", self._finished)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def allow(self, *patterns: str) -> None:
        """Let faults pass that a regular expression is found in, such as ``"409"``."""
        self._allowed.extend(re.compile(pattern) for pattern in patterns)

    def check(self) -> None:
        """Raise AssertionError if anything went wrong that was not allowed."""
        found = [fault for fault in self.faults if not any(p.search(fault) for p in self._allowed)]
        assert not found, "\n".join(found)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self.faults.append(f"console {message.type}: {message.text} {where}".rstrip())

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"left the server: {request.url}")
        if not _STREAMS.search(request.url) and request.url not in self._answered_once:
            self.under_way.add(request)

    def _finished(self, request: Request) -> None:
        self.under_way.discard(request)
        self._answered_once.add(request.url)

    def _failed(self, request: Request) -> None:
        self.under_way.discard(request)
        if request.failure != "net::ERR_ABORTED":  # the page gave it up itself, or was left
            self.faults.append(f"request failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.faults.append(f"answer {response.status}: {response.request.method} {response.url}")


@dataclass
class Screen:
    """A page of a site: opens its places, waits for rest, and asks axe-core."""

    page: Page
    site: Site
    watch: Watch

    def open(self, path: str) -> Page:
        """Go to a path of the site, such as ``/live``, and wait until the page is at rest."""
        self.page.goto(f"{self.site.url}{path}")
        self.wait_idle()
        return self.page

    def allow(self, *patterns: str) -> None:
        """Let faults pass that a regular expression is found in, such as ``"403"``."""
        self.watch.allow(*patterns)

    def wait_idle(self) -> None:
        """Return when nothing is busy and no request but a stream is on the way; AssertionError at the deadline."""
        quiet, looks = 0, DEADLINE_S * 1_000 // _LOOK_MS
        for _ in range(looks):
            self.page.wait_for_timeout(_LOOK_MS)
            busy = (
                self.watch.under_way or self.page.locator(".busy:visible, [aria-busy=true]:visible").count()
            )
            quiet = 0 if busy else quiet + 1
            if quiet == _QUIET_LOOKS:
                return
        raise AssertionError(f"the page is not at rest: {[r.url for r in self.watch.under_way]}")

    def until(self, look: Callable[[], Any], words: str) -> None:
        """Look again until it is true, while the page goes on; AssertionError with the words at the deadline."""
        for _ in range(DEADLINE_S * 1_000 // _LOOK_MS):
            if look():
                return
            self.page.wait_for_timeout(_LOOK_MS)
        raise AssertionError(words)

    def axe(self) -> list[str]:
        """Return the serious and critical violations of WCAG 2.1 A and AA that axe-core finds, one line each."""
        self.page.evaluate(_axe_source())
        found = self.page.evaluate("(options) => axe.run(document, options)", _AXE_OPTIONS)
        return [_violation(found) for found in found["violations"] if found["impact"] in _SERIOUS]


def _axe_source() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def _violation(found: Mapping[str, Any]) -> str:
    nodes = "; ".join(f"{' '.join(node['target'])} {node['html'][:120]}" for node in found["nodes"][:5])
    return f"{found['id']} ({found['impact']}): {found['help']}: {nodes}"


@contextmanager
def screen_on(
    browser: Browser,
    site: Site,
    *,
    size: tuple[int, int] = WIDE,
    dark: bool = False,
    bearer: str | None = None,
) -> Iterator[Screen]:
    """Open an empty page in a context of its own; leaving the block checks that nothing went wrong in it.

    Time zone UTC, no motion. ``bearer``: a key sent with every request.
    """
    context: BrowserContext = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        timezone_id="UTC",
        locale="en-GB",
        extra_http_headers={} if bearer is None else {"Authorization": f"Bearer {bearer}"},
    )
    try:
        context.add_init_script(_TELL_VIOLATIONS)
        context.set_default_timeout(DEADLINE_S * 1_000)
        page = context.new_page()
        screen = Screen(page, site, Watch(site.url))
        screen.watch.follow(page)
        yield screen
        screen.watch.check()
    finally:
        context.close()
