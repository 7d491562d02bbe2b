"""Signing in with a key, and out again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .harness import Screen, screen_on
from .recorded import FLIGHT
from .served import Site, serving

PAGE = f"/sequences/{quote(FLIGHT, safe='')}"


@pytest.fixture(scope="module")
def key(store: Path) -> str:
    """Return a key that may read the flights; from now on the store asks for keys."""
    database = StateDatabase(store)
    try:
        return make_key(database, Right.READ, groups=["flights"], label="reader")[1]
    finally:
        database.close()


@pytest.fixture(scope="module")
def asking(store: Path, key: str) -> Iterator[Site]:
    """Return the store as a server that asks for keys serves it."""
    with serving(store, store.parent / "asking") as served:
        yield served


@pytest.fixture
def stranger(browser: Browser, asking: Site) -> Iterator[Screen]:
    """Return a page of somebody who has shown no key yet."""
    with screen_on(browser, asking) as screen:
        yield screen


def sign_in(screen: Screen, key: str) -> None:
    """Fill in the form."""
    screen.page.get_by_label("Key").fill(key)
    screen.page.get_by_role("button", name="Sign in").click()


def test_a_page_asks_for_a_key_and_goes_on_to_where_one_was(stranger: Screen, key: str) -> None:
    """A shared link survives the login."""
    page = stranger.open(f"{PAGE}?tab=table")
    assert "/login?next=" in page.url
    expect(page.get_by_label("Key")).to_be_focused()
    sign_in(stranger, key)
    page.wait_for_url(f"**{PAGE}?tab=table")


def test_a_wrong_key_is_refused_in_words_and_nothing_is_shown(stranger: Screen, key: str) -> None:
    """The form stays usable, and no page opens."""
    stranger.allow("401")
    page = stranger.open("/login")
    sign_in(stranger, f"{key[:-4]}0000")
    expect(page.get_by_role("alert")).to_contain_text("key")
    expect(page.get_by_role("alert")).to_contain_text("revoked")
    expect(page.get_by_role("alert")).not_to_contain_text("GAPLESS_API_KEY")
    expect(page.get_by_role("alert").get_by_role("link", name="Sign in")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign in")).to_be_enabled()
    page.goto(f"{stranger.site.url}/")
    assert "/login" in page.url


def test_the_session_sees_its_groups_says_its_right_and_ends(stranger: Screen, key: str) -> None:
    """A key for one group lists that group only; signing out closes every page."""
    page = stranger.open("/")
    sign_in(stranger, key)
    stranger.wait_idle()
    rows = page.get_by_role("grid", name="Sequences").locator(".table-body [role=row]")
    assert rows.count() == 1
    expect(rows.first).to_contain_text(FLIGHT)
    right = page.locator("#caller .pill")
    expect(right).to_have_text("may read")
    assert right.get_attribute("title") == "groups: flights"
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto(f"{stranger.site.url}/")
    assert "/login" in page.url


@pytest.mark.parametrize("outside", ["https://example.org/", "//example.org/", "/\\example.org/"])
def test_signing_in_never_leads_to_another_server(stranger: Screen, key: str, outside: str) -> None:
    """A forged link cannot send who signs in elsewhere."""
    page = stranger.open(f"/login?next={quote(outside, safe='')}")
    sign_in(stranger, key)
    page.wait_for_url(f"{stranger.site.url}/")
    expect(page.get_by_role("grid", name="Sequences")).to_be_visible()


@pytest.mark.parametrize("dotted", ["/.//example.org/", "/a/..//example.org/"])
def test_a_path_that_turns_into_another_server_stays_one_of_ours(
    stranger: Screen, key: str, dotted: str
) -> None:
    """Without its dots it begins with two slashes, which by themselves would name a server."""
    stranger.allow("404")
    page = stranger.open(f"/login?next={quote(dotted, safe='')}")
    sign_in(stranger, key)
    page.wait_for_url(f"{stranger.site.url}//example.org/")
