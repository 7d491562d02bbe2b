"""What a page says of values that are easily shown wrongly: large integers, missing ones, lists, holes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Picture
from playwright.sync_api import Download, Page, expect

from gapless.cli.output import duration, size
from gapless.client.client import connect
from gapless.model.ontology import GPS

from .harness import Screen
from .recorded import FLIGHT, START_NS, TIME, S
from .sequence_view import Plots, address, fields

NAME = "values/all"
LARGE = 2**53 + 1  # the first integer that no number of JavaScript holds
ROWS = 12_345


@pytest.fixture(scope="module", autouse=True)
def recorded(store: Path) -> None:
    """Record a sequence with values of every awkward kind into the module's store."""
    times = START_NS + np.arange(ROWS, dtype=np.int64) * (S // 100)
    volts = pa.field("volts", pa.float64(), metadata={"unit": "V", "uncertainty": "0.5"})
    joints = pa.field("joints", pa.list_(pa.float64(), 2))
    with connect(store) as client:
        metadata = {"serial": LARGE, "nested": {"numbers": [LARGE, -LARGE]}, "words": ["a, b", "c"]}
        with client.sequence_create(NAME, metadata=metadata) as sequence:
            sequence.topic_create("a/fix", ontology_type=GPS)  # no row at all
            empty = sequence.topic_create(
                "b/never", schema=pa.schema([TIME, pa.field("lost", pa.float64(), metadata={"unit": "K"})])
            )
            empty.push_columns(times[:20], {"lost": np.full(20, np.nan)})
            arm = sequence.topic_create("c/arm", schema=pa.schema([TIME, volts, joints]))
            pairs = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * ROWS)), 2)
            arm.push_columns(times, {"volts": np.sin(np.arange(ROWS) / 50), "joints": pairs})
            sequence.event("info", "setpoint", "written", timestamp_ns=START_NS, data={"count": LARGE})
            for number in range(60):
                sequence.event("debug", "poll", f"number {number}", timestamp_ns=START_NS + number)


# -- large integers ------------------------------------------------------------------------------------


def test_integers_beyond_2_to_the_53_are_shown_to_the_last_digit(screen: Screen) -> None:
    """In metadata and in what an event carries."""
    page = screen.open(address(NAME))
    tree = page.locator(".value-tree").first
    expect(tree).to_contain_text(f"serial {LARGE}")
    expect(tree).to_contain_text(f"{LARGE}, {-LARGE}")
    events = page.locator(".beside").filter(has_text="Events")
    events.get_by_text("details").click()
    expect(events).to_contain_text(f"count {LARGE}")


JSON = """
async () => {
  const { parse, stringify } = await import("/static/js/core/json.js");
  const text = '{"a": 9007199254740993, "b": [-9007199254740993, 1], "c": 1e300, "d": "9007199254740993", "e": 12}';
  const found = parse(text);
  const types = [found.a, found.b[0], found.b[1], found.c, found.d, found.e].map((one) => typeof one);
  return [types, stringify(found), stringify(parse("[123456789012345678901234567890]"))];
}
"""


def test_json_comes_and_goes_without_losing_a_digit(screen: Screen) -> None:
    """A number stays what JavaScript can hold of it, an integer beyond that is a BigInt."""
    types, text, longest = screen.open("/login").evaluate(JSON)
    assert types == ["bigint", "bigint", "number", "number", "string", "number"]
    assert json.loads(text) == {"a": LARGE, "b": [-LARGE, 1], "c": 1e300, "d": str(LARGE), "e": 12}
    assert longest == "[123456789012345678901234567890]"


def test_a_list_of_texts_keeps_them_apart(screen: Screen) -> None:
    """A comma within a text is no comma between two."""
    page = screen.open(address(NAME))
    expect(page.locator(".value-tree").first).to_contain_text('words "a, b", c')


# -- sizes and durations as the command line has them ---------------------------------------------------

SAID = """
async ([sizes, durations]) => {
  const { bytes, duration } = await import("/static/js/core/format.js");
  return [sizes.map(bytes), durations.map(duration)];
}
"""


def test_sizes_and_durations_are_those_of_the_command_line(screen: Screen) -> None:
    """What `gapless ls` says of a sequence, its page says, too."""
    sizes = [0, 1, 1023, 1024, 1280, 1792, 202_445, 10_695_475, 3 << 30, 5 << 40, (1 << 20) - 1]
    lengths = [0, 1, 99, 100, 1_250, 99_999, 100_000, 1_250_000, 999_999_999, S, 1_250_000_000, 59_949_999_999,
               59_999_999_999, 60 * S, 245 * S, 3_599 * S, 3_600 * S, 7_140 * S, 93_784 * S]  # fmt: skip
    shown = screen.open("/login").evaluate(SAID, [sizes, [str(length) for length in lengths]])
    assert shown == [[size(one) for one in sizes], [duration(one) for one in lengths]]


# -- what is plotted -----------------------------------------------------------------------------------


def test_what_is_plotted_first_has_values(screen: Screen) -> None:
    """Topics without rows and fields without a value come after those that have something to show."""
    page = screen.open(address(NAME, tab="plots"))
    plots = Plots(screen)
    plots.wait(1)
    expect(plots.figures.first.locator(".figure-name")).to_contain_text("c/arm:volts")
    expect(page.get_by_text("No values in this span")).to_be_hidden()
    expect(page.get_by_role("tab", name="Map")).to_have_count(0)  # a track of no point is none


def test_a_field_without_values_says_so(screen: Screen) -> None:
    """Instead of an axis that was made up."""
    screen.open(address(NAME, tab="plots", fields=["b/never:lost", "c/arm:volts"]))
    plots = Plots(screen)
    plots.wait(2)
    expect(plots.figures.nth(0).locator(".figure-none")).to_be_visible()
    expect(plots.figures.nth(1).locator(".figure-none")).to_be_hidden()


def test_a_fixed_uncertainty_is_told(screen: Screen) -> None:
    """Declared once for the whole field, it is part of every value that the cursor reads."""
    start = START_NS + 10 * S
    screen.open(address(NAME, tab="plots", fields=["c/arm:volts"], **{"from": start, "to": start + S}))
    plots = Plots(screen)
    plots.wait(1)
    plots.hover(start + S // 2)
    expect(plots.read_out().locator(".figure-spread")).to_have_text(" ± 0.5")


# -- export --------------------------------------------------------------------------------------------


def saved(page: Page, name: str) -> Download:
    """Press a button of the export tab and return the file."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).or_(page.get_by_role("button", name=name)).click()
    return waiting.value


def test_a_json_export_has_every_row(screen: Screen, tmp_path: Path) -> None:
    """However many pages the server makes of them."""
    page = screen.open(address(NAME, tab="export", fields=["c/arm:volts"]))
    file = saved(page, "JSON")
    assert file.suggested_filename == "values_all c_arm.json"
    file.save_as(tmp_path / "data.json")
    found = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert [column["name"] for column in found["columns"]] == ["timestamp_ns", "volts"]
    assert len(found["rows"]) == ROWS
    assert found["rows"][-1][0] == str(START_NS + (ROWS - 1) * (S // 100))


@pytest.mark.parametrize(
    "plotted", [["c/arm:joints[1]"], ["c/arm:joints[0]", "c/arm:volts", "c/arm:joints[1]"]]
)
def test_an_element_of_a_list_is_exported_with_its_list(
    screen: Screen, tmp_path: Path, plotted: Sequence[str]
) -> None:
    """A file has whole columns."""
    page = screen.open(address(NAME, tab="export", fields=plotted))
    saved(page, "CSV").save_as(tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert "joints" in lines[0]
    assert len(lines) > ROWS
    line = page.get_by_label("In a terminal").input_value()
    assert "--column joints" in line
    assert "[" not in line


def test_the_picture_of_the_plots_shows_the_curves(screen: Screen, tmp_path: Path) -> None:
    """Also when it is asked for from another tab, and when the plots were not looked at yet."""
    page = screen.open(address(FLIGHT, tab="export", fields=["sensors/imu:acceleration.z"]))
    saved(page, "Save PNG").save_as(tmp_path / "plots.png")
    expect(page.get_by_role("tab", name="Export")).to_have_attribute("aria-selected", "true")
    assert fields(page) == ["sensors/imu:acceleration.z"]
    ink = page.evaluate(INK)
    red, green, blue = (int(ink[at : at + 2], 16) for at in (1, 3, 5))
    with Picture.open(tmp_path / "plots.png") as picture:
        assert picture.width > 600
        pixels = np.asarray(picture.convert("RGB"), np.int16)
    near = np.abs(pixels - np.array([red, green, blue], np.int16)).max(axis=2) < 12
    assert near.sum() > 500


INK = "getComputedStyle(document.documentElement).getPropertyValue('--curve-1').trim()"


def test_lines_for_a_terminal_hold_no_key_where_none_is_asked_for(screen: Screen) -> None:
    """An empty key is refused: the line would not work."""
    page = screen.open(address(FLIGHT, tab="export", fields=["sensors/imu:acceleration.z"]))
    assert "Bearer" not in page.get_by_label("From anywhere").input_value()


# -- beside the rows -----------------------------------------------------------------------------------


def test_events_for_the_search_of_faults_do_not_hide_the_others(screen: Screen) -> None:
    """Debug events are listed when they are asked for, more than fit at first by a button."""
    page = screen.open(address(NAME))
    events = page.locator(".beside").filter(has_text="Events")
    expect(events.locator("li .badge")).to_have_count(1)
    events.get_by_label("Debug events").check()
    expect(events.locator("li .badge")).to_have_count(50)
    events.get_by_role("button", name="Show 11 more").click()
    expect(events.locator("li .badge")).to_have_count(61)


def test_every_time_of_the_overview_follows_the_zone(screen: Screen) -> None:
    """Facts and lists are not left in the zone of before."""
    with_zone = screen.page.context.browser
    assert with_zone is not None
    context = with_zone.new_context(timezone_id="America/New_York")
    try:
        page = context.new_page()
        page.goto(f"{screen.site.url}{address(FLIGHT)}")
        starts = page.locator(".facts time").first
        expect(starts).to_contain_text("17:13:20")
        event = page.locator(".beside .link").first
        expect(event).to_contain_text("17:13:31")
        page.get_by_role("button", name="Times are local; switch to UTC").click()
        expect(starts).to_contain_text("22:13:20")
        expect(event).to_contain_text("22:13:31")
    finally:
        context.close()


def test_a_label_outside_of_the_recording_is_saved_only_when_asked_for_twice(screen: Screen) -> None:
    """One slip in a time would paint the whole plot."""
    page = screen.open(address(NAME, tab="plots"))
    page.get_by_role("button", name="Add…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("typo")
    dialog.get_by_label("From").fill("-5")
    dialog.get_by_label("To").fill("999")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("reaches beyond the recording")
    expect(page.locator(".labels-list li")).to_have_count(0)
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator(".labels-list li")).to_have_count(1)
    expect(page.locator(".toast")).to_have_attribute("data-level", "warn")


def test_a_time_in_the_address_that_is_none_is_said_to_be_none(screen: Screen) -> None:
    """A link that was cut does not silently show something else."""
    page = screen.open(address(FLIGHT, tab="plots", **{"from": "abc"}))
    expect(page.locator(".toast")).to_contain_text("from=abc is no time")
    screen.open(address(FLIGHT, tab="plots", **{"from": START_NS + S, "to": START_NS}))
    expect(page.locator(".toast")).to_contain_text("ends before it begins")


# -- holes ---------------------------------------------------------------------------------------------

HOLES = """
async () => {
  const { broken, lonely, pausesBefore, pausesWithin } = await import("/static/js/sequence/pauses.js");
  const line = (starts, ends) => {
    const isParted = pausesBefore(starts, ends);
    const points = { x: starts, y: starts.map((_, n) => n) };
    const { y } = broken(points, isParted);
    return [y.map((one) => (Number.isNaN(one) ? "hole" : one)), lonely(points, isParted).y];
  };
  const rows = Float64Array.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 30, 60, 61]);
  const starts = Float64Array.from([0, 10, 20, 30, 40, 50, 60, 70, 80, 300, 310]);
  const ends = Float64Array.from([9, 19, 29, 39, 49, 59, 69, 79, 299, 309, 319]);
  return [line([...rows]), line([...starts], [...ends]), pausesWithin(starts, ends).indexOf(true), line([0, 1, 50])];
}
"""


def test_a_line_is_not_drawn_over_a_pause(screen: Screen) -> None:
    """Rows and buckets: nobody measured what would be drawn there; a single row between two pauses is a dot."""
    rows, buckets, hollow, few = screen.open("/login").evaluate(HOLES)
    assert rows == [[0, 1, 2, 3, 4, 5, 6, 7, 8, "hole", 9, "hole", 10, 11], [9]]
    assert buckets == [[0, 1, 2, 3, 4, 5, 6, 7, "hole", 8, "hole", 9, 10], [8]]
    assert hollow == 8
    assert few == [[0, 1, 2], []]  # too few to know what is usual


def test_text_that_cannot_be_plotted_is_not_said_to_be_missing(screen: Screen) -> None:
    """It is there, and the table has it."""
    page = screen.open(address(FLIGHT, tab="plots", fields=["sensors/temperature:state"]))
    expect(page.get_by_text("sensors/temperature:state cannot be plotted: no number.")).to_be_visible()
