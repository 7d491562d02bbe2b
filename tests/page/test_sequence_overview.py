"""What a sequence is: facts, metadata, ledger, timeline, provenance, examination; rows, track and export."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from playwright.sync_api import Browser, Page, expect
from tests.serve.native.client_away import leave_open

from gapless.client.client import connect

from .harness import Screen, Site, environment, screen_on
from .recorded import BIG, FAILED, FLIGHT, LAYERED, LIVE, PENDING, START_NS, UNUSUAL, S
from .sequence_view import Plots, address, parameters


def test_the_overview_says_what_was_recorded_and_what_is_missing(screen: Screen) -> None:
    """Facts, metadata, ledger, gaps, events and artifacts are those of the store."""
    page = screen.open(address(FLIGHT))
    facts = page.get_by_label("Facts")
    expect(facts).to_contain_text("sealed, completed")
    expect(facts).to_contain_text("flights")
    with connect(screen.site.root) as client:
        handler = client.sequence_handler(FLIGHT)
        expect(facts).to_contain_text(str(handler.content_digest))
        ledger = handler.ledger
    expect(page.get_by_text(f"{ledger['written']:,} written")).to_contain_text(f"{ledger['gapped']} gapped")
    expect(page.locator(".value-tree").first).to_contain_text("kestrel")
    topics = page.get_by_role("region", name="Topics")
    expect(topics.get_by_role("row").filter(has_text="sensors/gps")).to_contain_text("7")
    gaps = page.locator(".beside", has_text="Gaps")
    expect(gaps).to_contain_text("sensors/gps: 7 rows for 1.0 s, no_fix")
    events = page.locator(".beside", has_text="Events")
    expect(events).to_contain_text("gusts above 8 m/s")
    expect(page.get_by_role("link", name="notes.txt")).to_be_visible()


def test_the_timeline_shows_gaps_events_and_labels_and_takes_the_cursor(screen: Screen) -> None:
    """Each kind of mark is drawn, and a click on the timeline puts the cursor at that time."""
    page = screen.open(address(FLIGHT))
    timeline = page.locator("svg.timeline")
    expect(timeline.locator(".timeline-gap")).to_have_count(1)
    expect(timeline.locator(".timeline-event")).to_have_count(3)
    expect(timeline.locator(".timeline-label")).to_have_count(2)
    expect(timeline.locator(".timeline-topic")).to_have_count(4)
    box = timeline.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + (200 + box["width"] - 8) / 2, box["y"] + 60)
    screen.until(lambda: "cursor" in parameters(page), "the cursor is nowhere")
    middle = START_NS + 19_995 * S // 2_000
    assert abs(int(parameters(page)["cursor"]) - middle) < S // 10
    expect(timeline.locator(".timeline-cursor")).to_have_count(1)


def test_a_gap_leads_to_its_place_in_the_plots(screen: Screen) -> None:
    """The plots open on the span of the gap."""
    page = screen.open(address(FLIGHT))
    page.locator(".beside", has_text="Gaps").get_by_role("button").click()
    plots = Plots(screen)
    screen.until(lambda: plots.area.count() == 1, "the plots are not there")
    screen.wait_idle()
    start, end = plots.span
    assert start < START_NS + 11 * S < START_NS + 12 * S < end


def test_check_and_verify_say_what_they_found_and_what_it_means(screen: Screen) -> None:
    """A sound sequence is called so; a finding comes with its meaning."""
    page = screen.open(address(FLIGHT))
    page.get_by_role("button", name="Verify", exact=True).click()
    screen.wait_idle()
    expect(page.locator(".verdict")).to_contain_text("Sound")
    page.get_by_role("button", name="Check", exact=True).click()
    screen.wait_idle()
    finding = page.locator(".findings li", has_text="C001")
    expect(finding).to_contain_text("sensors/gps")
    expect(finding).to_contain_text("rows of _gaps say which and why")


def test_layers_and_failures_are_said(screen: Screen) -> None:
    """Layers, outcomes and names of any characters are shown as they are."""
    page = screen.open(address(LAYERED))
    expect(page.get_by_label("Facts")).to_contain_text("inspection")
    page = screen.open(address(FAILED))
    expect(page.get_by_label("Facts")).to_contain_text("sealed, failed")
    page = screen.open(address(UNUSUAL))
    expect(page.get_by_role("heading", level=1)).to_have_text(UNUSUAL)
    expect(page.locator(".value-tree").first).to_contain_text("<b>bold</b> & 'quoted'")


def test_a_pending_sequence_is_sealed_from_the_page(screen: Screen) -> None:
    """The page offers the next step, asks, and does it."""
    page = screen.open(address(PENDING))
    expect(page.get_by_text("not known before it is sealed")).to_be_visible()
    page.get_by_role("button", name="Seal…").click()
    page.get_by_role("dialog").get_by_role("button", name="Seal").click()
    expect(page.get_by_label("Facts")).to_contain_text("sealed, failed")
    screen.wait_idle()
    with connect(screen.site.root) as client:
        assert client.sequence_handler(PENDING).state == "sealed"


def test_a_sequence_that_is_not_there_says_so(screen: Screen) -> None:
    """A wrong name is no empty page."""
    screen.allow("404")
    page = screen.open(address("nowhere"))
    expect(page.get_by_role("alert")).to_contain_text("There is no sequence of that name")


def test_a_tab_that_there_is_not_is_said(screen: Screen) -> None:
    """The overview is shown instead, under its own address, whatever else the link says; back stays on the page."""
    page = screen.open(address(FLIGHT, tab="foo", topic="host/counters"))
    expect(page.locator("#toasts")).to_contain_text(
        "tab=foo: there is no such tab here. Overview is shown instead."
    )
    expect(page.get_by_role("tab", name="Overview")).to_have_attribute("aria-selected", "true")
    assert parameters(page) == {"topic": "host/counters"}
    page = screen.open(address(FAILED, tab="map"))  # no tab of this sequence
    expect(page.locator("#toasts")).to_contain_text("tab=map: there is no such tab here")
    assert parameters(page) == {}
    page = screen.open(address(FLIGHT, tab="export"))
    expect(page.get_by_role("tab", name="Export")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#toasts")).to_be_empty()


# -- rows ---------------------------------------------------------------------------------------------


def test_rows_begin_at_the_cursor_with_every_digit(screen: Screen) -> None:
    """Integers beyond 2**53 are whole; topic and columns may be chosen."""
    page = screen.open(address(FLIGHT, tab="rows", topic="host/counters", cursor=START_NS + 5 * S))
    first = page.get_by_role("grid").locator(".table-body [role=row]").first
    expect(first).to_contain_text(str(BIG + 50))
    expect(first).to_contain_text(str(2**63 + 51))
    expect(first).to_contain_text("22:13:25.000")
    page.get_by_label("Topic").select_option("sensors/temperature")
    expect(page.get_by_role("grid").get_by_role("columnheader", name="value [degC]")).to_be_visible()
    page.locator(".rows-columns summary").click()
    page.get_by_label("state", exact=True).uncheck()
    screen.wait_idle()
    expect(page.get_by_role("grid").get_by_role("columnheader", name="state")).to_have_count(0)
    assert parameters(page)["topic"] == "sensors/temperature"


def test_rows_are_copied_as_they_are_shown(screen: Screen) -> None:
    """The clipboard holds the rows with their heads, parted by tabs."""
    page = screen.open(address(FLIGHT, tab="rows", topic="host/counters", cursor=START_NS + 198 * S // 10))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy these rows").click()
    expect(page.locator("#toasts")).to_contain_text("Copied 2 rows")
    copied = str(page.evaluate("navigator.clipboard.readText()")).splitlines()
    assert copied[0] == "timestamp_ns\tsigned\tunsigned"
    assert copied[1] == f"{START_NS + 198 * S // 10}\t{BIG + 198}\t{2**63 + 199}"


# -- the track ----------------------------------------------------------------------------------------


def test_the_track_says_the_place_at_the_cursor(screen: Screen) -> None:
    """Latitude and longitude at the cursor are those of the row."""
    page = screen.open(address(FLIGHT, tab="map", cursor=START_NS))
    told = page.locator(".track-told")
    expect(told).to_contain_text(f"position.x 46.5, position.y {6.6 + 0.002!r}")
    expect(page.locator(".track-area")).to_have_attribute("aria-label", re.compile("200 points"))


# -- export -------------------------------------------------------------------------------------------


def test_what_is_on_screen_is_exported(screen: Screen) -> None:
    """The link and the line for the terminal give the rows and columns that are on screen, and no others."""
    page = export(screen)
    with page.expect_download() as coming:
        page.get_by_role("link", name="CSV").click()
    lines = coming.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "timestamp_utc,value [degC]"
    assert len(lines) == 1 + 5  # 5 rows a second, the end not included
    with page.expect_download() as coming:
        page.get_by_role("link", name="Parquet").click()
    table = pq.read_table(coming.value.path())
    assert table.column_names == ["timestamp_ns", "value"]
    assert [float(line.split(",")[1]) for line in lines[1:]] == table["value"].to_pylist()
    assert table["timestamp_ns"].to_pylist() == [START_NS + 3 * S + row * S // 5 for row in range(5)]

    line = page.get_by_label("In a terminal").input_value()
    work = screen.site.root.parent / "exported"
    work.mkdir(exist_ok=True)
    words = shlex.split(line)
    assert words[0] == "gapless"
    assert words[-2:] == ["--store", "STORE"]
    run = [sys.executable, "-m", "gapless.cli.main", *words[1:-1], str(screen.site.root)]
    subprocess.run(run, check=True, cwd=work, env=environment(work), capture_output=True)
    assert (work / words[3]).read_text(encoding="utf-8").splitlines() == lines


def export(screen: Screen) -> Page:
    """Open the export of one second of one field."""
    said: dict[str, str | int | list[str]] = {
        "from": START_NS + 3 * S,
        "to": START_NS + 4 * S,
        "fields": ["sensors/temperature:value"],
    }
    return screen.open(address(FLIGHT, tab="export", **said))


def test_the_plots_are_saved_as_a_picture(screen: Screen) -> None:
    """What is drawn comes as a PNG file named after the sequence."""
    page = screen.open(address(FLIGHT, tab="plots", fields=["sensors/temperature:value"]))
    Plots(screen).wait(1)
    page.get_by_role("tab", name="Export").click()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Save PNG").click()
    assert coming.value.suggested_filename == "flights_imu-01.png"
    assert coming.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# -- open sequences -----------------------------------------------------------------------------------


def test_a_client_that_is_away_is_not_called_gone(screen: Screen) -> None:
    """The list, the facts and what to do say that it may come back, and until when."""
    leave_open(screen.site.root, "afar")
    leave_open(screen.site.root, "later", FAILED)
    page = screen.open("/?query=afar")
    expect(page.get_by_role("row").filter(has_text="afar")).to_contain_text("open, client away")
    screen.open(address("afar"))
    expect(page.get_by_label("Facts")).to_contain_text("open, client away, may come back until 20")
    expect(page.locator(".rescue")).to_contain_text("Its client is away and may come back until 20")
    expect(page.get_by_text("gone")).to_have_count(0)
    screen.open(address(FAILED))
    expect(page.get_by_label("Facts")).to_contain_text("later open, client away, may come back until 20")


def test_an_open_sequence_grows_and_is_followed(
    browser: Browser, serve: Callable[..., Site], live_store: Path
) -> None:
    """New rows come by themselves; a span that follows keeps its length and goes with the end."""
    site = serve(live_store)
    with screen_on(browser, site) as screen:
        screen.page.goto(f"{site.url}{address(LIVE, tab='plots', fields=['oven/pv:value'])}")
        plots = Plots(screen)
        expect(plots.figures).to_have_count(1)
        screen.until(lambda: plots.area.get_attribute("data-exact") == "true", "nothing is drawn")
        first = plots.span
        screen.until(lambda: plots.span[1] > first[1], "it does not grow")
        assert plots.span[0] == first[0]  # all of it stays on screen
        plots.area.focus()
        screen.page.keyboard.press("+")
        screen.page.get_by_label("Follow").check()
        length = plots.span[1] - plots.span[0]
        screen.until(lambda: plots.span[1] > first[1] + 3 * S, "it is not followed")
        assert abs((plots.span[1] - plots.span[0]) - length) <= 2
