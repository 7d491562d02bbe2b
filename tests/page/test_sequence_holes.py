"""Where nothing was recorded nothing is drawn: bands of uncertainty and tracks end at a gap as lines do."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from PIL import Image as Picture
from playwright.sync_api import Page, Route, expect

from gapless.client.client import Client, connect

from .harness import Screen
from .recorded import START_NS, TIME, S
from .sequence_view import Plots, address

BANDS, TRACKS = "holes/bands", "holes/tracks"
FEW, MANY = 100, 12_000  # rows: each is drawn, or buckets of them
LASTS_S = 60
PAUSE_S, GAP_S = 20, 40  # where a hole begins: one that nobody recorded, and one of the ledger
VOLTS = pa.field("volts", pa.float64(), metadata={"unit": "V", "uncertainty": "10"})
LEG = 40  # points from the left to the right
HOLES = ("gap", "pause", "nan")


@pytest.fixture(scope="module", autouse=True)
def recorded(store: Path) -> None:
    """Record bands with holes, and tracks that jump over their middle at one."""
    with connect(store) as client:
        with client.sequence_create(BANDS) as sequence:
            for rows in (FEW, MANY):
                _band(sequence.topic_create(f"rows-{rows}", schema=pa.schema([TIME, VOLTS])), rows)
        _tracks(client)


def _band(topic: Any, rows: int) -> None:
    """Rise to 60 V, uncertain by 10, without the rows of two holes."""
    at_s = np.arange(rows) * LASTS_S / rows
    pause_s, gap_s = hole_s(rows, PAUSE_S), hole_s(rows, GAP_S)
    kept = ~((at_s > PAUSE_S) & (at_s < PAUSE_S + pause_s)) & ~((at_s > GAP_S) & (at_s < GAP_S + gap_s))
    at_s = at_s[kept]
    topic.push_columns(START_NS + (at_s * S).astype(np.int64), {"volts": at_s})
    ends_ns = START_NS + int((GAP_S + gap_s) * S)
    topic.gap(1, "cable", start_ns=START_NS + GAP_S * S + S // 1_000, end_ns=ends_ns - S // 1_000)


def hole_s(rows: int, begins_s: int) -> float:
    """Return how long a hole is: the pause much longer than what is usual, the gap too short to be taken for one."""
    return 8.0 if begins_s == PAUSE_S else 3.0 if rows == FEW else 0.25


def _tracks(client: Client) -> None:
    """Record legs along the lower and the upper edge; what would join them passes through the middle."""
    fields = [pa.field(f"position.{axis}", pa.float64()) for axis in "xy"]
    with client.sequence_create(TRACKS) as sequence:
        for kind in ("joined", *HOLES, "alone"):
            topic = sequence.topic_create(kind, schema=pa.schema([TIME, *fields]))
            steps = np.arange(2 * LEG, dtype=np.int64)
            steps[LEG:] += 100 if kind == "pause" else 6
            x, y = np.tile(np.linspace(0, 100, LEG), 2), np.repeat([0.0, 100.0], LEG)
            between = {"nan": np.nan, "alone": 50.0}.get(kind)
            if between is not None:
                steps = np.insert(steps, LEG, LEG + 3)
                x, y = np.insert(x, LEG, between), np.insert(y, LEG, between)
            topic.push_columns(START_NS + steps * S, {"position.x": x, "position.y": y})
            for first in {"gap": [LEG], "alone": [LEG, LEG + 4]}.get(kind, []):
                topic.gap(1, "no_fix", start_ns=START_NS + first * S, end_ns=START_NS + (first + 1) * S)


def pixels(page: Page, x: float, y: float, width: float, height: float) -> npt.NDArray[np.int16]:
    """Return what is on screen there, ``[h, w, 3]``."""
    shot = page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
    with Picture.open(io.BytesIO(shot)) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


# -- bands ---------------------------------------------------------------------------------------------


def evenness(plots: Plots, at_s: float) -> float:
    """Return how much of the height has one colour at a time: nearly all where no band is drawn."""
    box = plots.figures.first.locator(".figure-area").bounding_box()
    assert box is not None
    x = round(plots.x_of(START_NS + int(at_s * S)))
    column = pixels(plots.page, x, box["y"] + 12, 1, box["height"] - 62)
    colours = Counter(map(tuple, column[:, 0].tolist()))
    return max(colours.values()) / colours.total()


def bare_within(plots: Plots, begins_s: int, rows: int) -> None:
    """Return when there is no band in the middle of a hole."""
    middle_s = begins_s + hole_s(rows, begins_s) / 2
    plots.screen.until(lambda: evenness(plots, middle_s) > 0.9, f"drawn over the hole at {begins_s} s")


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["rows", "buckets"])
def test_a_band_of_uncertainty_is_not_drawn_over_a_hole(screen: Screen, rows: int) -> None:
    """Neither over a pause nor over a gap of the ledger; beside them it is there."""
    screen.open(address(BANDS, tab="plots", fields=[f"rows-{rows}:volts"]))
    plots = Plots(screen)
    plots.wait(1)
    assert plots.is_exact == (rows == FEW)
    plots.page.mouse.move(0, 0)
    screen.until(lambda: evenness(plots, 10) < 0.9, "the band is not drawn")
    for begins_s in (PAUSE_S, GAP_S):
        bare_within(plots, begins_s, rows)
    assert evenness(plots, 50) < 0.9


def test_a_gap_that_is_known_late_parts_what_is_drawn_already(screen: Screen) -> None:
    """Rows and gaps are asked for at once, and either may come first."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    screen.page.route("**/gaps?*", hold)
    screen.page.goto(f"{screen.site.url}{address(BANDS, tab='plots', fields=[f'rows-{FEW}:volts'])}")
    plots = Plots(screen)
    expect(plots.figures).to_have_count(1)
    screen.until(lambda: held and evenness(plots, 10) < 0.9, "the band is not drawn")
    screen.until(lambda: evenness(plots, GAP_S + 1) < 0.9, "the gap is known before it was told")
    held[0].continue_()
    bare_within(plots, GAP_S, FEW)


# -- tracks --------------------------------------------------------------------------------------------


def ink(page: Page) -> int:
    """Return how many pixels in the middle of the map have a colour of the track."""
    box = page.locator(".track-area").bounding_box()
    left, right, top, bottom = page.evaluate(DRAWN)
    assert box is not None
    middle = box["x"] + (left + right) / 2, box["y"] + (top + bottom) / 2
    seen = pixels(page, middle[0] - 30, middle[1] - 30, 60, 60)
    return int((seen.max(axis=2) - seen.min(axis=2) > 60).sum())


DRAWN = """
() => {
  const [view] = [...Bokeh.index].filter((one) => document.querySelector(".track-area").contains(one.el));
  const { left, right, top, bottom } = view.frame.bbox;
  return [left, right, top, bottom];
}
"""


def show(screen: Screen, kind: str) -> Page:
    """Open the map of a track."""
    page = screen.open(address(TRACKS, tab="map"))
    page.get_by_label("Track", exact=True).select_option(f"{kind} position.")
    expect(page.locator(".track-area")).to_have_attribute("aria-label", f"Track of {kind}, {2 * LEG} points")
    screen.wait_idle()
    return page


@pytest.mark.parametrize("kind", HOLES)
def test_a_track_is_not_drawn_over_a_hole(screen: Screen, kind: str) -> None:
    """Nobody was seen between the place before a gap, a pause or a number that is none, and the place after."""
    page = show(screen, "joined")
    screen.until(lambda: ink(page) > 60, "the track is not drawn")
    page = show(screen, kind)
    screen.until(lambda: ink(page) == 0, f"the track is drawn over the {kind}")


def test_a_place_between_two_gaps_is_a_dot(screen: Screen) -> None:
    """No line leads to it or from it, and it was seen."""
    page = screen.open(address(TRACKS, tab="map"))
    page.get_by_label("Track", exact=True).select_option("alone position.")
    words = f"Track of alone, {2 * LEG + 1} points"
    expect(page.locator(".track-area")).to_have_attribute("aria-label", words)
    screen.until(lambda: 4 < ink(page) < 40, "there is no dot alone")
