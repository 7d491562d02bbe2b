"""What every page has around its content: navigation, skip link, theme, time zone, colours that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .harness import NARROW, Screen, Watch, screen_on
from .recorded import FLIGHT, START_NS
from .served import Site

CSS = resources.files("gapless.serve.web") / "static" / "css"
TEXTS = ("text", "muted", "accent", "accent-strong", "ok", "warn", "bad", "live")
SURFACES = ("canvas", "surface", "raised", "sunken")
SOFT = ("accent", "ok", "warn", "bad", "live")


def tokens() -> dict[str, dict[str, str]]:
    """Return the colours of tokens.css by theme; "system" is dark as the operating system asks for it."""
    text = (CSS / "tokens.css").read_text(encoding="utf-8")
    light, system, dark, _ = re.findall(r":root(?:\[[^]]*\]|:not\(\[[^]]*\]\))?\s*\{([^}]*)\}", text)
    return {
        name: dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6});", block))
        for name, block in (("light", light), ("system", system), ("dark", dark))
    }


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours as WCAG 2.1 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_surface_and_controls_can_be_seen(theme: str) -> None:
    """WCAG 2.1 AA: 4.5 to 1 for text, 3 to 1 for what is drawn."""
    colours = tokens()[theme]
    pairs = [(text, surface) for text in TEXTS for surface in SURFACES]
    pairs += [(level, f"{level}-soft") for level in SOFT]
    pairs += [("text", f"{level}-soft") for level in SOFT]
    pairs += [("on-accent", "accent"), ("on-accent", "accent-strong")]
    weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}
    graphic = [(one, s) for one in ("edge", "accent", *(f"curve-{n}" for n in range(1, 7))) for s in SURFACES]
    faint = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in graphic}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 3} == {}


def test_dark_is_the_same_whether_a_person_or_the_system_asks_for_it() -> None:
    """CSS needs both blocks; they say the same."""
    found = tokens()
    assert found["system"] == found["dark"]
    assert found["light"].keys() == found["dark"].keys()


def test_the_part_that_is_shown_is_marked_and_each_part_opens(screen: Screen) -> None:
    """A part that is not served, here the hub, is not offered."""
    page = screen.open("/")
    nav = page.get_by_role("navigation", name="Parts")
    assert nav.get_by_role("link").all_inner_texts() == ["Sequences", "Live", "Features"]  # no hub was named
    for part in ("Live", "Features", "Sequences"):
        nav.get_by_role("link", name=part).click()
        screen.wait_idle()
        expect(nav.locator("[aria-current=page]")).to_have_text(part)


def test_the_skip_link_is_the_first_stop_and_leads_to_the_content(screen: Screen) -> None:
    """Who uses the keyboard need not pass the navigation."""
    page = screen.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_a_theme_is_chosen_and_kept(screen: Screen) -> None:
    """Light, dark, or what the system says; reloading keeps it."""
    page = screen.open("/")
    light = canvas(page)
    page.get_by_role("button", name="Theme: as the system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = canvas(page)
    assert dark != light
    page.reload()
    screen.wait_idle()
    assert canvas(page) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.locator("html").get_attribute("data-theme") is None


def canvas(page: Page) -> Any:
    """Return the colour that the page is drawn on."""
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


@contextmanager
def in_tokyo(browser: Browser, site: Site) -> Iterator[Screen]:
    """Open an empty page of a browser whose clock is nine hours ahead of UTC."""
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="ja-JP")
    try:
        screen = Screen(context.new_page(), site, Watch(site.url))
        screen.watch.follow(screen.page)
        yield screen
        screen.watch.check()
    finally:
        context.close()


def test_times_are_local_with_utc_in_their_title_and_can_be_utc(browser: Browser, site: Site) -> None:
    """The choice is kept, and both ways name the same moment."""
    with in_tokyo(browser, site) as screen:
        page = screen.open(f"/?query={FLIGHT}")
        time = page.locator("[role=gridcell][data-key=start] time")
        local, title = time.inner_text(), time.get_attribute("title")
        assert title is not None
        page.get_by_role("button", name="Times are local; switch to UTC").click()
        expect(time).not_to_have_text(local)
        shown = time.inner_text()
        assert title.startswith(shown.replace(" ", "T"))
        assert title.endswith("Z")
        assert int(local[11:13]) == (int(shown[11:13]) + 9) % 24
        page.reload()
        screen.wait_idle()
        assert time.inner_text() == shown


FORMATS = """
async () => {
  const { time, utc, duration, bytes, count, value } = await import("/static/js/core/format.js");
  return [
    time("1700000000123456789", { zoned: "utc", precision: "ns" }), time("1700000000999999999", { zoned: "utc" }),
    time(null), utc(-1n), utc(2n ** 63n - 1n), utc(-(2n ** 63n) + 1n),
    duration("999"), duration("59999999999"), duration("60000000000"), duration("3723000000000"), duration(null),
    bytes(999), bytes(999500), bytes(4200000), count(1234567),
    value(0.1, "V"), value(2n ** 62n + 1n), value(null, "V"), value(NaN),
  ];
}
"""


def test_numbers_and_times_keep_every_digit_that_they_have(screen: Screen) -> None:
    """int64 times beyond 2^53, the edges of their range, and values as they were stored."""
    assert START_NS == 1_700_000_000_000_000_000
    assert screen.open("/login").evaluate(FORMATS) == [
        "2023-11-14 22:13:20.123456789", "2023-11-14 22:13:20",
        "–", "1969-12-31T23:59:59.999999999Z", "2262-04-11T23:47:16.854775807Z", "1677-09-21T00:12:43.145224193Z",
        "1.0 µs", "60.0 s", "1m 00s", "1h 02m", "–",
        "999 B", "976.1 KiB", "4.0 MiB", "1,234,567",
        "0.1 V", "4611686018427387905", "–", "NaN",
    ]  # fmt: skip


ASK = """
async () => {
  const { ask } = await import("/static/js/core/dialog.js");
  const { ApiError } = await import("/static/js/core/api.js");
  const work = async ({ reason }) => {
    if (reason === "none") throw new ApiError(409, { message: "that is no reason", next: "write `why`" });
    return reason.length;
  };
  window.answers = window.answers ?? [];
  const fields = [{ name: "reason", label: "Reason", required: true }];
  ask({ title: "Reject it?", confirm: "Reject", danger: true, fields, work }).then((answer) => answers.push(answer));
}
"""


def test_a_dialog_is_cancelled_by_escape_and_stays_while_what_it_does_is_refused(screen: Screen) -> None:
    """A dangerous act is not one Enter away, and the focus goes back to where it was."""
    page = screen.open("/")
    box = page.get_by_role("combobox", name="Search")
    box.focus()
    page.evaluate(ASK)
    dialog = page.get_by_role("dialog", name="Reject it?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert screen.axe() == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(box).to_be_focused()
    page.evaluate(ASK)
    dialog.get_by_role("button", name="Reject").click()  # the browser asks for the required reason
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_label("Reason").fill("none")
    dialog.get_by_role("button", name="Reject").click()
    expect(dialog.get_by_role("alert")).to_contain_text("That is no reason")
    expect(dialog.get_by_role("alert").locator("code")).to_have_text("why")
    dialog.get_by_label("Reason").fill("blurred")
    page.keyboard.press("Enter")
    screen.until(lambda: len(page.evaluate("answers")) == 2, "the dialog gave no answer")
    assert page.evaluate("answers") == [None, {"values": {"reason": "blurred"}, "result": 7}]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_at_390_px_nothing_sticks_out_and_the_parts_are_a_bar_below(
    browser: Browser, site: Site, path: str, dark: bool
) -> None:
    """No page scrolls sideways on a phone."""
    with screen_on(browser, site, size=NARROW, dark=dark) as screen:
        screen.allow("404")
        page = screen.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
        nav = page.locator(".nav")
        if nav.count():
            box = nav.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] == NARROW[1]
            assert box["width"] == NARROW[0]


def test_an_error_page_says_what_is_missing_and_leads_back(screen: Screen) -> None:
    """A link that leads nowhere is no dead end."""
    screen.allow("404")
    page = screen.open("/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this path")
    page.get_by_role("link", name="All sequences").click()
    expect(page.get_by_role("grid", name="Sequences")).to_be_visible()
