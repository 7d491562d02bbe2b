"""Every view, light and dark, wide and narrow: axe-core finds nothing serious, and the keyboard reaches all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from .furnished import EMPTY, LOGIN, Place, empty, places
from .harness import NARROW, WIDE, Screen, Site, screen_on
from .recorded import FLIGHT, LIVE

pytestmark = pytest.mark.slow
_FOCUS = """() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const style = getComputedStyle(node), box = node.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const drawn = box.width > 0 && box.height > 0 && style.visibility === "visible";
  return { what: node.outerHTML.slice(0, 120), text: (node.innerText || node.getAttribute("aria-label") || "").trim(),
           shown: drawn && (ring || style.boxShadow !== "none"), top: box.top, bottom: box.bottom };
}"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1440", "390"])
def test_axe_finds_nothing_serious(browser: Browser, full: Site, size: tuple[int, int], dark: bool) -> None:
    """No serious or critical violation of WCAG 2.1 A and AA on any view, and nothing wider than the screen."""
    assert_accessible(browser, full, places(full), size, dark)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["1440", "390"])
def test_an_empty_store_and_the_login_are_accessible(
    browser: Browser, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    """The same of views that a store shows only before it has something, or to a stranger."""
    with empty(tmp_path / "new") as site:
        assert_accessible(browser, site, EMPTY, size, dark)
    with empty(tmp_path / "asking", key=True) as site:
        assert_accessible(browser, site, LOGIN, size, dark)


def assert_accessible(
    browser: Browser, site: Site, shown: Sequence[Place], size: tuple[int, int], dark: bool
) -> None:
    """Open each place; AssertionError with everything that axe-core finds or that is wider than the screen."""
    found: list[str] = []
    with screen_on(browser, site, size=size, dark=dark) as screen:
        screen.allow("404")
        for place in shown:
            page = screen.open(place.path)
            found += [f"{place.name}: {fault}" for fault in screen.axe()]
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            found += [f"{place.name}: {wide} px wider than the screen"] if wide > 0 else []
    assert not found, "\n".join(found)


def test_axe_is_not_blind(browser: Browser, full: Site) -> None:
    """A button without a name and grey on grey are found."""
    with screen_on(browser, full) as screen:
        page = screen.open("/login")
        page.evaluate(
            """() => {
              const text = Object.assign(document.createElement("p"), { textContent: "hard to read" });
              text.style.cssText = "color: #999; background: #aaa";
              document.querySelector("main").append(document.createElement("button"), text);
            }"""
        )
        faults = "\n".join(screen.axe())
    assert "button-name" in faults
    assert "color-contrast" in faults


def tab_to(page: Page, words: str, *, limit: int = 80) -> None:
    """Press Tab until what has the focus says the words; every stop on the way shows its focus, inside the view."""
    height = page.evaluate("innerHeight")
    for _ in range(limit):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS)
        if focus is None:
            continue
        assert focus["shown"], f"no visible focus: {focus['what']}"
        assert focus["bottom"] > 0, focus["what"]
        assert focus["top"] < height, focus["what"]
        if words.casefold() in f"{focus['text']} {focus['what']}".casefold():
            return
    raise AssertionError(f"Tab does not come to {words!r}")


@pytest.fixture
def keys(browser: Browser, full: Site) -> Iterator[Screen]:
    """Return a page on the full site that is driven by keys alone."""
    with screen_on(browser, full) as screen:
        yield screen


def test_the_first_tab_skips_to_the_content(keys: Screen) -> None:
    """The first stop of a page is a link that leads past the navigation."""
    page = keys.open("/")
    page.keyboard.press("Tab")
    focus = page.evaluate(_FOCUS)
    assert focus["shown"], focus
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id || location.hash") in ("main", "#main")


def test_a_sequence_is_found_and_opened_with_keys(keys: Screen) -> None:
    """Search box, typing, and from the table into the sequence, without a pointer."""
    page = keys.open("/")
    tab_to(page, "search")
    page.keyboard.type("imu-01")
    page.keyboard.press("Enter")
    expect(page.get_by_role("row").filter(has_text=FLIGHT)).to_be_visible()
    keys.wait_idle()
    tab_to(page, 'role="grid"')
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sequences/{quote(FLIGHT, safe='')}*")


def test_the_tabs_of_a_sequence_follow_the_arrows(keys: Screen) -> None:
    """Tabs are one stop; arrows choose, and the URL says which."""
    page = keys.open(f"/sequences/{quote(FLIGHT, safe='')}")
    tab_to(page, 'role="tab"')
    before = page.url
    page.keyboard.press("ArrowRight")
    keys.until(lambda: page.url != before, "the URL does not say which tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"


def test_something_live_is_opened_with_keys(keys: Screen) -> None:
    """From the list of what is live into it."""
    page = keys.open("/live")
    tab_to(page, f'href="/live/{quote(LIVE, safe="")}"')
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/live/{quote(LIVE, safe='')}*")


def test_a_dialog_keeps_and_gives_back_the_focus(keys: Screen) -> None:
    """Approving asks first; Escape closes the question, and the focus is where it was."""
    page = keys.open("/hub")
    tab_to(page, "approve")
    before = page.evaluate(_FOCUS)["what"]
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert page.evaluate("document.querySelector('dialog[open]').contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert page.evaluate(_FOCUS)["what"] == before
