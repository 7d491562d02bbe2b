"""Every view of a full site: the content security policy holds, nothing fails, nothing leaves this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from .furnished import Place, places
from .harness import Screen, Site, screen_on

pytestmark = pytest.mark.slow
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:"


@pytest.fixture
def full_screen(browser: Browser, full: Site) -> Iterator[Screen]:
    """Return an empty page on that site."""
    with screen_on(browser, full) as opened:
        yield opened


def look(screen: Screen, place: Place) -> None:
    """Open a place with its policy and its heading there, and no error shown unless it is one."""
    if place.missing:
        screen.allow("404")
    answer = screen.page.goto(f"{screen.site.url}{place.path}")
    assert answer is not None
    assert answer.status == place.status, place
    assert answer.header_value("content-security-policy") == POLICY, place
    screen.wait_idle()
    expect(screen.page.locator("main h1").first).to_be_visible()
    if not place.missing:
        expect(screen.page.locator("[role=alert]:visible")).to_have_count(0)
    elif place.status == 200:
        expect(screen.page.locator("[role=alert]:visible").first).to_contain_text("gapless ls")


def test_every_view_keeps_the_policy(full_screen: Screen) -> None:
    """Each place opens without a violation, a word on the console, a failed request or one that leaves the server."""
    for place in places(full_screen.site):
        look(full_screen, place)


def test_a_violation_is_noticed(full_screen: Screen) -> None:
    """The watch is not blind: an inline script and a picture from elsewhere are refused, and it says so."""
    full_screen.open("/")
    full_screen.page.evaluate(
        """() => {
          const add = (tag, words) => document.body.append(Object.assign(document.createElement(tag), words));
          add("script", { textContent: "window.ran = 1" });
          add("img", { src: "http://192.0.2.1/x.png", alt: "" });
        }"""
    )
    full_screen.until(lambda: len(full_screen.watch.faults) >= 2, "nothing was noticed")
    assert full_screen.page.evaluate("window.ran") is None
    faults = "\n".join(full_screen.watch.faults)
    assert "script-src" in faults
    assert "img-src" in faults
    full_screen.allow("content security policy", "Content Security Policy", "192.0.2.1", "inline script")


def test_everything_in_the_navigation_is_there(full_screen: Screen) -> None:
    """A full site has all five parts, and each link leads to a page that is marked as the current one."""
    page = full_screen.open("/")
    links = page.locator("nav a[href^='/']")
    paths = {str(link.get_attribute("href")) for link in links.all()}
    assert {"/", "/live", "/features", "/hub"} <= paths
    for path in sorted({"/", "/live", "/features", "/hub"}):
        full_screen.open(path)
        expect(page.locator(f"nav a[href='{path}']").first).to_have_attribute("aria-current", "page")


def test_what_is_not_served_is_not_in_the_navigation(screen: Screen) -> None:
    """Without a hub there is no page of it, and no link to it."""
    page = screen.open("/")
    assert page.locator("nav a[href='/hub']").count() == 0
    screen.allow("404")
    answer = page.goto(f"{screen.site.url}/hub")
    assert answer is not None
    assert answer.status == 404
