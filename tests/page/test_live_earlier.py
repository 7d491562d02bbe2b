"""The curves of a live page begin with the minute before it was opened, in a browser."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from playwright.sync_api import Locator, expect

import gapless

from .harness import Screen, Site, until
from .rig_run import running_rig

S = 1_000_000_000
SCHEMA = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("x", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("word", pa.string()),
    ]
)
# For each hundredth of the width of a channel's canvas whether anything of the curve's colour is there.
INKED = """(canvas) => {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--curve-1").trim();
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
  const near = (one, other) => Math.abs(one - other) < 40;
  const { width, height } = canvas;
  const copy = Object.assign(document.createElement("canvas"), { width, height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return Array.from({ length: 100 }, (_, part) => {
    const [from, to] = [part, part + 1].map((edge) => Math.floor((edge * width) / 100));
    for (let x = from; x < to; x += 1) {
      for (let y = 0; y < height; y += 1) {
        const [r, g, b, alpha] = data.subarray(4 * (y * width + x), 4 * (y * width + x) + 4);
        if (alpha > 100 && near(r, red) && near(g, green) && near(b, blue)) return true;
      }
    }
    return false;
  });
}"""
TRACE = """async (steps) => {
  const { Trace } = await import("/static/js/live/trace.js");
  const trace = new Trace();
  for (const [verb, ...given] of steps) trace[verb](...given);
  const found = [];
  trace.since(-Infinity, (time, value) => found.push([time, value]));
  return found;
}"""


def place(name: str) -> str:
    """Return the path of the page of a recording."""
    return f"/live/{quote(name, safe='')}"


def inked(card: Locator) -> list[bool]:
    """Return which hundredths of a channel's picture have a part of its curve."""
    found: list[bool] = card.locator("canvas").evaluate(INKED)
    return found


def test_the_last_minute_is_there_at_once(screen: Screen, site: Site) -> None:
    """Every row before the first that was told, none twice; a pause of the recording is none of the curve."""
    name = "earlier/bench"
    with gapless.connect(site.root) as client, client.sequence_create(name) as sequence:
        topic = sequence.topic_create("bench", schema=SCHEMA)
        now_ns = time.time_ns()
        tenths = [tenth for tenth in range(-900, 1) if not -300 <= tenth < -200]
        for tenth in tenths:
            topic.push_row(now_ns + tenth * S // 10, (tenth % 20) / 20, 2**60 + tenth, "on")
        sequence.flush()
        page = screen.open(place(name))
        shown = sum(-600 <= tenth < 0 for tenth in tenths)
        for channel in ("bench:x", "bench:n"):
            card = page.locator(f'.channel[data-channel="{channel}"]')
            expect(card).to_have_attribute("data-earlier", str(shown + 1))  # and the one that parts the line
        card = page.locator('.channel[data-channel="bench:x"]')
        screen.until(lambda: inked(card)[30], "nothing of the last minute is drawn")
        drawn = inked(card)
        assert all(drawn[2:48])
        assert not any(drawn[52:64])
        assert all(drawn[69:98])
        assert page.locator('.channel[data-channel="bench:word"]').get_attribute("data-earlier") is None
        expect(page.locator("#toasts")).to_be_empty()

        topic.push_row(now_ns + S, 0.5, 1, "off")
        sequence.flush()
        expect(card.locator(".channel-value")).to_have_text("0.5")
        screen.until(lambda: not any(inked(card)[51:63]), "the curve does not go on")
        assert all(inked(card)[68:97])


def test_a_topic_that_is_declared_later_begins_earlier_too(screen: Screen, site: Site) -> None:
    """The page asked for the topics when it was not there yet."""
    name = "earlier/later"
    with gapless.connect(site.root) as client, client.sequence_create(name) as sequence:
        now_ns = time.time_ns()
        for topic in ("first", "late"):
            writer = sequence.topic_create(topic, schema=SCHEMA)
            for tenth in range(-50, 1):
                writer.push_row(now_ns + tenth * S // 10, tenth / 50, tenth, "on")
            sequence.flush()
            page = screen.open(place(name)) if topic == "first" else screen.page
            card = page.locator(f'.channel[data-channel="{topic}:x"]')
            expect(card).to_have_attribute("data-earlier", "50")


def test_the_curves_of_a_run_reach_to_before_the_page(screen: Screen, site: Site, tmp_path: Path) -> None:
    """Its channels are told before they are durable: what is between is brought when it is."""
    name = "earlier/run"
    with running_rig(site.root, tmp_path, name, 3):

        def has_rows() -> bool:
            with gapless.connect(site.root) as client:
                handler = client.sequence_handler(name)
                return any(
                    handler.topic(topic).rows >= 40
                    for topic in handler.topics
                    if topic.startswith("channels/")
                )

        until(has_rows, "the run has no rows")
        page = screen.open(place(name))
        for channel in ("zone_0", "zone_2"):
            card = page.locator(f'.channel[data-channel="{channel}"]')
            screen.until(partial(reaches_back, card), "its curve begins with the page")
        expect(page.locator("#toasts")).to_be_empty()


def reaches_back(card: Locator) -> bool:
    """Tell whether a channel's curve has rows from before the page."""
    return int(card.get_attribute("data-earlier") or 0) >= 40


def test_what_was_not_brought_is_said(screen: Screen, site: Site) -> None:
    """The page goes on as if it had asked for nothing."""
    screen.allow("500", "curves")
    name = "earlier/refused"
    with gapless.connect(site.root) as client, client.sequence_create(name) as sequence:
        topic = sequence.topic_create("bench", schema=SCHEMA)
        topic.push_row(time.time_ns(), 1.0, 1, "on")
        sequence.flush()
        refusal = '{"error": "ServerFault", "code": "E000", "message": "no curves today", "next": "wait"}'
        screen.page.route(
            "**/curves?*",
            lambda route: route.fulfill(status=500, content_type="application/json", body=refusal),
        )
        page = screen.open(place(name))
        expect(page.locator("#toasts")).to_contain_text("The curves begin now: no curves today")
        topic.push_row(time.time_ns(), 2.5, 1, "on")
        sequence.flush()
        expect(page.locator('.channel[data-channel="bench:x"] .channel-value')).to_have_text("2.5")


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([["add", 5, 1], ["begin", [[3, 0], [4, 0]], 5]], [[3, 0], [4, 0], [5, 1]]),
        (  # again, with more of them
            [
                ["add", 5, 1],
                ["begin", [[3, 0]], 5],
                ["add", 6, 2],
                ["begin", [[3, 0], [4, 0]], 5],
                ["add", 7, 3],
            ],
            [[3, 0], [4, 0], [5, 1], [6, 2], [7, 3]],
        ),
        ([["add", 5, 1], ["add", 2, 9], ["begin", [[4, 0]], 5], ["add", 3, 8]], [[2, 9], [3, 8]]),
    ],
)
def test_a_line_begins_earlier(screen: Screen, steps: list[object], found: list[list[float]]) -> None:
    """No point is lost or there twice, however often it begins; a clock that went back is left alone."""
    page = screen.open("/live")
    assert page.evaluate(TRACE, steps) == found


def test_a_line_keeps_its_newest_points(screen: Screen) -> None:
    """It holds a bounded number; before and after it was full."""
    page = screen.open("/live")
    steps: list[list[object]] = [["add", 2_000 + n, n] for n in range(500)]
    steps.append(["begin", [[n, 0] for n in range(1_000)], 2_000])
    steps += [["add", 3_000 + n, n] for n in range(10)]
    found = page.evaluate(TRACE, steps)
    assert len(found) == 1_024
    assert [time for time, _ in found] == [*range(486, 1_000), *range(2_000, 2_500), *range(3_000, 3_010)]
