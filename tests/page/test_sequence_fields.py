"""Which fields a page offers for plots: numbers inside of columns too, and names with colons in them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import expect

from gapless.client.client import connect

from .harness import Screen
from .recorded import START_NS, TIME, S
from .sequence_view import Plots, address, fields

NAME = "fields/inner"
ROWS = 500
MIDDLE_ROW = 250
MIDDLE_NS = START_NS + MIDDLE_ROW * S // 100
LONGEST = 40  # elements of a list; each row has one less than the next, and 0 after it
POSE_X = "arm/pose:pose.position.x"


@pytest.fixture(scope="module", autouse=True)
def recorded(store: Path) -> None:
    """Record structs and lists, and names with colons, into the module's store."""
    metre = {"unit": "m", "description": "of the tool"}
    position = pa.struct([pa.field("x", pa.float64(), metadata=metre), ("y", pa.float64())])
    pose = pa.struct([("position", position), ("ok", pa.bool_()), ("frame", pa.string())])
    schema = pa.schema([TIME, pa.field("pose", pose), pa.field("ranges", pa.list_(pa.float64()))])
    times = START_NS + np.arange(ROWS, dtype=np.int64) * (S // 100)
    rows = [{"position": {"x": n / 4, "y": -n / 4}, "ok": n % 2 == 0, "frame": "base"} for n in range(ROWS)]
    ranges = [[n + place / 64 for place in range(n % (LONGEST + 1))] for n in range(ROWS)]
    with connect(store) as client, client.sequence_create(NAME) as sequence:
        arm = sequence.topic_create("arm/pose", schema=schema)
        arm.push_columns(
            times, {"pose": pa.array(rows, pose), "ranges": pa.array(ranges, schema.field(2).type)}
        )
        for number, (topic, column) in enumerate([("t", "a:b"), ("t:a", "b"), ("50%:u", "v")]):
            named = sequence.topic_create(topic, schema=pa.schema([TIME, pa.field(column, pa.int64())]))
            named.push_columns(times, {column: np.full(ROWS, 100 + number)})


def show(screen: Screen, *names: str) -> Plots:
    """Open the plots of fields with the cursor on the middle row."""
    said: dict[str, str | int] = {"from": START_NS, "to": START_NS + 5 * S, "cursor": MIDDLE_NS}
    screen.open(address(NAME, tab="plots", fields=names, **said))
    plots = Plots(screen)
    plots.wait(len(names))
    return plots


def read(plots: Plots, *values: str) -> None:
    """Wait until the cursor reads these values from top to bottom."""
    plots.wait(len(values))
    expect(plots.area.locator(".figure-value [data-value]")).to_have_count(len(values))
    assert [plots.exact(number) for number in range(len(values))] == list(values)


def test_a_member_of_a_struct_is_chosen_and_plotted(screen: Screen) -> None:
    """With its own unit; the address holds it, and brings it back."""
    plots = show(screen, "t:a:b")
    page = screen.page
    page.get_by_label("Find a field").fill("position.x")
    page.get_by_role("checkbox", name="pose.position.x [m]").check()
    read(plots, "100", str(MIDDLE_ROW / 4))
    expect(plots.figures.nth(1).locator(".figure-name")).to_have_text(f"{POSE_X} [m]")
    page.get_by_label("Find a field").fill("frame")
    expect(page.get_by_text("No field matches")).to_be_visible()  # a text is no number
    screen.until(lambda: fields(page) == ["t:a:b", POSE_X], "the address does not have it")
    page.reload()
    read(plots, "100", str(MIDDLE_ROW / 4))


def test_a_list_offers_its_first_elements_and_any_by_name(screen: Screen) -> None:
    """Rows whose list is shorter have no point; what is plotted stays in the tree."""
    plots = show(screen, "arm/pose:ranges[0]")
    page = screen.page
    boxes = page.locator('[data-field^="arm/pose:ranges["]')
    expect(boxes).to_have_count(16)
    expect(page.get_by_text("type ranges[16] above")).to_be_visible()
    find = page.get_by_label("Find a field")
    find.fill("ranges[39]")
    box = page.get_by_role("checkbox", name="ranges[39]")
    box.check()
    plots.wait(2)
    row = min((n for n in range(ROWS) if n % (LONGEST + 1) > 39), key=lambda n: abs(n - MIDDLE_ROW))
    read(plots, str(MIDDLE_ROW), str(row + 39 / 64))
    find.fill("")
    expect(box).to_be_checked()
    expect(boxes).to_have_count(17)
    box.uncheck()
    read(plots, str(MIDDLE_ROW))
    box.check()
    plots.wait(2)


def test_all_that_is_offered_can_be_plotted(screen: Screen) -> None:
    """Every box stands for a field that the server draws."""
    show(screen, "t:a:b")
    page = screen.page
    page.get_by_label("Find a field").fill(":")
    boxes = page.locator("[data-field]")
    expect(boxes).to_have_count(3 + 16 + 3)
    links = boxes.evaluate_all("(found) => found.map((box) => box.dataset.field)")
    asked = "&".join(f"fields={quote(link, safe='')}" for link in links)
    answer = page.request.get(f"{screen.site.url}/api/v1/sequences/{quote(NAME, safe='')}/curves?{asked}")
    assert answer.status == 200, answer.text()


def test_a_position_in_a_struct_is_a_track(screen: Screen) -> None:
    """As one whose columns are called so."""
    page = screen.open(address(NAME, tab="map"))
    expect(page.get_by_role("tab", name="Map")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".track")).to_be_visible()


def test_a_member_is_exported_with_its_column(screen: Screen) -> None:
    """A file has whole columns."""
    page = screen.open(address(NAME, tab="export", fields=[POSE_X, "arm/pose:pose.ok", "arm/pose:ranges[3]"]))
    line = page.get_by_label("In a terminal").input_value()
    assert "--column pose --column ranges --" in line


def test_colons_in_names_of_topics_and_columns_are_kept_apart(screen: Screen) -> None:
    """Two fields that read alike are two, in the tree, on the screen and in the address."""
    plots = show(screen, "arm/pose:pose.ok")
    page = screen.page
    page.get_by_label("Find a field").fill("b")
    for link in ("t:a:b", "t%3Aa:b"):
        page.locator(f'[data-field="{link}"]').check()
    read(plots, "true", "100", "101")
    screen.until(lambda: fields(page)[1:] == ["t:a:b", "t%3Aa:b"], "the address does not have them")
    page.reload()
    read(plots, "true", "100", "101")
    expect(plots.figures.nth(2).locator(".figure-name")).to_have_text("t:a:b")


@pytest.mark.parametrize("link", ["50%:u:v", "50%25%3Au:v"])
def test_a_link_with_colons_as_they_are_still_leads_there(screen: Screen, link: str) -> None:
    """As people and earlier versions write it."""
    plots = show(screen, link)
    read(plots, "102")
    expect(plots.figures.first.locator(".figure-name")).to_have_text("50%:u:v")
