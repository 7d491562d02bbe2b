"""Plots of a sequence: fields, units, exact read-outs, the address, the keyboard, labels."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from gapless.client.client import connect

from .harness import NARROW, Screen, Site, environment, screen_on
from .recorded import BIG, FLIGHT, LAYERED, SPIKE, SPIKE_ROW, START_NS, S
from .sequence_view import Plots, address, fields, parameters

SPIKE_NS = START_NS + SPIKE_ROW * S // 200
ACCELERATION = "sensors/imu:acceleration.z"
WARMTH = "sensors/temperature:value"
SIGNED, UNSIGNED = "host/counters:signed", "host/counters:unsigned"


def show(screen: Screen, *fields: str, **said: str | int) -> Plots:
    """Open the plots of fields of the flight."""
    screen.open(address(FLIGHT, tab="plots", fields=fields, **said))
    plots = Plots(screen)
    plots.wait(len(fields))
    return plots


def test_a_link_from_a_search_opens_zoomed_to_the_row_that_matched(screen: Screen) -> None:
    """The span of the match is there with what is around it; the cursor reads the row."""
    said: dict[str, str | int | list[str]] = {"from": SPIKE_NS, "to": SPIKE_NS + 1, "topic": "sensors/imu"}
    screen.open(address(FLIGHT, **said, fields=[ACCELERATION]))
    plots = Plots(screen)
    plots.wait(1)
    start, end = plots.span
    assert start < SPIKE_NS < end
    assert end - start < S
    screen.until(lambda: plots.exact() == "42", "the cursor does not read the row")
    expect(plots.read_out()).to_have_text("42 m/s^2")


def test_integers_that_no_float_holds_are_read_digit_by_digit(screen: Screen) -> None:
    """int64 and uint64 above 2**53 are read whole."""
    plots = show(screen, SIGNED, UNSIGNED, cursor=START_NS + 7 * S // 10)
    screen.until(lambda: plots.exact(0) is not None, "nothing is read")
    assert plots.exact(0) == str(BIG + 7)
    assert plots.exact(1) == str(2**63 + 8)


def test_the_row_nearest_to_the_cursor_is_read_with_its_uncertainty(screen: Screen) -> None:
    """The value, its uncertainty and its unit are those of the nearest row."""
    plots = show(screen, WARMTH)
    plots.hover(START_NS + 10 * S + 90_000_000)  # rows are 0.2 s apart: this is nearer to row 50 than to 51
    screen.until(lambda: plots.exact() is not None, "nothing is read")
    assert plots.exact() == "21"
    expect(plots.read_out()).to_have_text(f"21 ± {0.2 + 50 / 500!r} degC")
    heads = plots.figures.first.locator(".figure-name")
    expect(heads).to_have_text(f"{WARMTH} [degC]")


def test_fields_are_chosen_from_a_tree_with_a_filter(screen: Screen) -> None:
    """Ticks add and remove figures, and the address follows."""
    plots = show(screen, WARMTH)
    page = screen.page
    page.get_by_label("Find a field").fill("signed")
    page.get_by_role("checkbox", name="unsigned").check()
    plots.wait(2)
    assert fields(page) == [WARMTH, UNSIGNED]
    page.get_by_role("checkbox", name="unsigned").uncheck()
    plots.wait(1)
    page.get_by_label("Find a field").fill("no such field")
    expect(page.get_by_text("No field matches")).to_be_visible()


def test_fields_of_one_unit_share_a_figure_when_asked(screen: Screen) -> None:
    """Three components become three lines of one figure."""
    names = [f"sensors/imu:acceleration.{axis}" for axis in "xyz"]
    plots = show(screen, *names)
    screen.page.get_by_label("Join equal units").check()
    plots.wait(1)
    expect(plots.figures.first.locator(".figure-name")).to_have_count(3)
    expect(plots.figures.first.locator(".figure-name").first).to_contain_text("[m/s^2]")


def test_the_address_restores_the_view_and_back_undoes_a_choice(screen: Screen) -> None:
    """Span, cursor, axis and fields come from the address; back and reload restore them."""
    said: dict[str, str | int] = {
        "from": START_NS + 2 * S,
        "to": START_NS + 6 * S,
        "cursor": START_NS + 5 * S,
        "axis": "s",
    }
    plots = show(screen, WARMTH, SIGNED, **said)
    page = screen.page
    assert plots.span == (START_NS + 2 * S, START_NS + 6 * S)
    expect(page.locator(".plots-cursor")).to_have_text("Cursor 5 s")
    expect(page.locator(".plots-span")).to_have_text("4.0 s from 2 s")
    page.get_by_role("button", name="Show all").click()
    screen.wait_idle()
    assert plots.span == (START_NS, START_NS + 199 * S // 10 + 95_000_000 + 1)
    assert "from" not in parameters(page)
    page.go_back()
    screen.until(lambda: plots.span == (START_NS + 2 * S, START_NS + 6 * S), "back does not undo")
    page.reload()
    plots.wait(2)
    assert plots.span == (START_NS + 2 * S, START_NS + 6 * S)
    expect(page.locator(".plots-cursor")).to_have_text("Cursor 5 s")


def test_the_keyboard_alone_goes_to_the_spike_and_labels_it(screen: Screen) -> None:
    """Zoom, steps from row to row and a label need no mouse."""
    plots = show(screen, ACCELERATION, cursor=SPIKE_NS - S // 200)
    page, keys = screen.page, screen.page.keyboard
    plots.area.focus()
    for _ in range(5):
        keys.press("+")
    screen.wait_idle()
    start, end = plots.span
    assert (end - start) * 31 < 20 * S
    assert plots.is_exact
    keys.press("[")
    keys.press("ArrowRight")
    screen.until(lambda: plots.exact() == repr(SPIKE).removesuffix(".0"), "the next row is not the spike")
    keys.press("ArrowRight")
    keys.press("]")
    expect(page.get_by_role("dialog")).to_be_visible()
    keys.type("by keys")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".labels-list")).to_contain_text("by keys")
    found = annotation(screen.site, "by keys")
    assert (found.start_ns, found.end_ns) == (SPIKE_NS - S // 200, SPIKE_NS + S // 200)
    expect(plots.area).to_be_focused()
    keys.press("0")
    screen.wait_idle()
    assert plots.span[1] - plots.span[0] > 19 * S
    keys.press("Escape")
    expect(page.locator(".plots-cursor")).to_have_count(0)


def test_a_label_drawn_with_the_mouse_is_stored_to_the_pixel_and_found_by_a_query(screen: Screen) -> None:
    """The stored span is within a pixel of what was drawn; it is found, looked at and deleted."""
    plots = show(screen, ACCELERATION)
    page = screen.page
    from_x, to_x = (round(plots.x_of(START_NS + at * S)) for at in (5, 8))
    drawn, pixel_ns = [plots.ns_of(x) for x in (from_x, to_x)], plots.ns_per_pixel
    page.keyboard.down("Shift")
    plots.drag(from_x, to_x)
    page.keyboard.up("Shift")
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("turn left")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".labels-list")).to_contain_text("turn left")
    found = annotation(screen.site, "turn left")
    assert abs(found.start_ns - drawn[0]) <= pixel_ns
    assert abs(found.end_ns - drawn[1]) <= pixel_ns
    assert plots.span[0] == START_NS  # drawing moved nothing
    assert [item["sequence"] for item in query(screen.site, 'annotation == "turn left"')] == [FLIGHT]

    page.get_by_role("button", name="turn left", exact=True).click()
    screen.wait_idle()
    assert plots.span[0] < found.start_ns < found.end_ns < plots.span[1]
    assert plots.span[1] - plots.span[0] < 19 * S

    page.get_by_role("button", name="Delete turn left").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".labels-list")).not_to_contain_text("turn left")
    assert query(screen.site, 'annotation == "turn left"') == []


def test_a_label_may_be_typed_and_a_wrong_time_is_said(screen: Screen) -> None:
    """Seconds and dates are read to the nanosecond; nonsense is refused in the dialog."""
    show(screen, WARMTH)
    page = screen.page
    page.get_by_role("button", name="Add…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("typed")
    dialog.get_by_label("From").fill("soon")
    dialog.get_by_label("To").fill("2023-11-14 22:13:25.000000007Z")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("From is no time")
    dialog.get_by_label("From").fill("1.25")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator(".labels-list")).to_contain_text("typed")
    found = annotation(screen.site, "typed")
    assert (found.start_ns, found.end_ns) == (START_NS + 1_250_000_000, START_NS + 5 * S + 7)


def annotation(site: Site, name: str) -> Any:
    """Return the one annotation of that name of the flight."""
    with connect(site.root) as client:
        [found] = [note for note in client.sequence_handler(FLIGHT).annotations() if note.name == name]
    return found


def query(site: Site, text: str) -> list[dict[str, Any]]:
    """Return what `gapless query` finds."""
    command = [sys.executable, "-m", "gapless.cli.main", "query", text, "--store", str(site.root), "--json"]
    home = site.root.parent
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment(home))
    answer = json.loads(told.stdout)
    found: list[dict[str, Any]] = answer["sequences"]
    return found


def test_rows_of_a_layer_are_plotted_with_the_base(screen: Screen) -> None:
    """Both are read at one cursor."""
    screen.open(address(LAYERED, tab="plots", fields=["press/force:value", "inspection/score:value"]))
    plots = Plots(screen)
    plots.wait(2)
    plots.hover(START_NS + 20 * S)
    screen.until(lambda: plots.exact(0) is not None, "nothing is read")
    assert (plots.exact(0), plots.exact(1)) == ("30", "0.8")


def test_a_field_that_is_not_there_is_named(screen: Screen) -> None:
    """An address that names an unknown field says which."""
    screen.open(address(FLIGHT, tab="plots", fields=["sensors/imu:colour"]))
    expect(screen.page.locator(".plots-note")).to_contain_text("There is no sensors/imu:colour")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_plots_fit_a_telephone(browser: Browser, site: Site, dark: bool) -> None:
    """Nothing is wider than 390 pixels."""
    with screen_on(browser, site, size=NARROW, dark=dark) as screen:
        plots = show(screen, ACCELERATION, WARMTH)
        left, right = plots.edges
        assert 0 < left < right <= NARROW[0]
        assert screen.page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
