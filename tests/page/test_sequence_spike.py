"""One row in ten million differs: found with the eye, zoomed to, and read exactly as the Parquet file has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, Response, expect

from gapless.client.client import connect

from .harness import Site, screen_on, serving
from .sequence_view import Plots, address

pytestmark = pytest.mark.slow
NAME, TOPIC = "bench/spike", "probe"
ROWS, BLOCK = 10_000_000, 500_000
START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000
ROW = 6_283_185
LEVEL, COUNT = 3.0000000000000004, 2**62 + 12_345  # neither is what a rounded or shortened number says
MOST_BYTES = 64 * 1024 + 4096  # of a field, with the header of the frame


@pytest.fixture(scope="module")
def long_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a server of ten million rows of which one differs."""
    work = tmp_path_factory.mktemp("spike")
    record(work / "store")
    with serving(work / "store", work / "server") as site:
        yield site


def record(root: Path) -> None:
    """Record the rows: a quiet level, a count that no float64 holds, and the spike in both."""
    unit = {"unit": "bar"}
    schema = pa.schema(
        [
            pa.field("timestamp_ns", pa.int64(), nullable=False),
            pa.field("level", pa.float64(), metadata=unit),
            pa.field("count", pa.int64()),
        ]
    )
    with connect(root) as client, client.sequence_create(NAME) as sequence:
        topic = sequence.topic_create(TOPIC, schema=schema)
        for first in range(0, ROWS, BLOCK):
            rows = np.arange(first, first + BLOCK, dtype=np.int64)
            level, count = np.sin(rows * 1e-6), rows % 1_000
            if first <= ROW < first + BLOCK:
                level[ROW - first], count[ROW - first] = LEVEL, COUNT
            topic.push_columns(START_NS + rows * STEP_NS, {"level": level, "count": count})


@pytest.fixture
def zoomed(browser: Browser, long_site: Site) -> Iterator[Plots]:
    """Return the plots of both fields, over the whole sequence."""
    with screen_on(browser, long_site) as screen:
        fields = [f"{TOPIC}:level", f"{TOPIC}:count"]
        screen.open(address(NAME, tab="plots", fields=fields))
        plots = Plots(screen)
        plots.wait(2)
        yield plots


def test_the_spike_is_seen_in_the_whole_and_read_to_its_last_digit(zoomed: Plots, long_site: Site) -> None:
    """The extreme is in the read-out of the whole; zooming ends at the row as Parquet has it."""
    sizes: list[int] = []
    zoomed.page.on("response", lambda answer: sizes.append(curve_bytes(answer)))
    spike_ns = START_NS + ROW * STEP_NS

    zoomed.hover(spike_ns)
    expect(zoomed.read_out(0)).to_contain_text(f"… {LEVEL!r} bar")
    expect(zoomed.read_out(1)).to_contain_text(f"… {COUNT} of")
    assert zoomed.exact() is None

    zoomed.page.get_by_role("button", name="Zoom box").click()
    for _ in range(8):
        if zoomed.is_exact:
            break
        x = zoomed.x_of(spike_ns)
        zoomed.drag(x - 40, x + 40, number=1)
        zoomed.screen.wait_idle()
    assert zoomed.is_exact

    zoomed.hover(spike_ns)
    zoomed.screen.until(lambda: zoomed.exact(0) == repr(LEVEL), f"the read-out says {zoomed.exact(0)}")
    assert zoomed.exact(1) == str(COUNT)
    with connect(long_site.root) as client:
        stored = client.sequence_handler(NAME).topic(TOPIC).to_arrow(None, spike_ns, spike_ns + 1).to_pylist()
    assert stored == [{"timestamp_ns": spike_ns, "level": LEVEL, "count": COUNT}]
    assert sizes
    assert max(sizes) <= 2 * MOST_BYTES


def curve_bytes(answer: Response) -> int:
    """Return the size of an answer that holds curves, else 0."""
    return len(answer.body()) if "/curves?" in answer.url and answer.status == 200 else 0


def test_both_figures_zoom_together_and_curves_come_again(zoomed: Plots) -> None:
    """The time under the mouse stays there, and finer curves are fetched."""
    asked, (start, end) = zoomed.requests, zoomed.span
    middle = (zoomed.edges[0] + zoomed.edges[1]) / 2
    kept = zoomed.ns_of(middle)
    zoomed.page.mouse.move(middle, zoomed.y_of(1))
    zoomed.page.mouse.wheel(0, -600)
    zoomed.screen.until(lambda: zoomed.requests > asked, "no curves were asked for")
    zoomed.screen.wait_idle()
    first, last = zoomed.span
    assert last - first < end - start
    assert abs(zoomed.ns_of(middle) - kept) < 2 * zoomed.ns_per_pixel
    shown = [figure.locator(".figure-area").get_attribute("aria-label") for figure in zoomed.figures.all()]
    assert all(words is not None and f"{ROWS:,} rows" not in words for words in shown)
