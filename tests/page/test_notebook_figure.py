"""What ``.plot()`` returns is drawn by the scripts of the installed Bokeh alone, without a network."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from bokeh.embed import file_html
from bokeh.resources import INLINE
from playwright.sync_api import Browser, expect

import gapless

from .recorded import FLIGHT


def test_a_figure_is_drawn_offline(browser: Browser, store: Path) -> None:
    """Two fields of two units in one figure, saved as a page: the browser draws it and complains about nothing."""
    with gapless.connect(store) as client:
        topic = client.sequence_handler(FLIGHT).topic("sensors/imu")
        figure = topic.plot(fields=["acceleration.z", "angular_velocity.x"])
    faults: list[str] = []
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.on(
            "console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: faults.append(asked.url) if "//" in asked.url else None)
        page.set_content(file_html(figure, INLINE, "figure"))
        expect(page.locator(".bk-Figure canvas").first).to_be_visible()
        page.wait_for_function("Bokeh.documents[0].is_idle")
        roots = page.evaluate("Bokeh.documents[0].roots().map((root) => [root.type, root.renderers.length])")
    finally:
        context.close()
    assert roots == [["Figure", 4]]
    assert faults == []


COLOURED = """() => {
  const view = [...Bokeh.index][0];
  const renderer = view.owner.get_one(view.model.renderers[1]);
  const {canvas} = view.canvas_view.primary;
  const ratio = canvas.width / canvas.clientWidth;
  const isDrawn = (ms) => {
    const x = Math.round(renderer.coordinates.x_scale.compute(ms) * ratio);
    const pixels = canvas.getContext("2d").getImageData(x, 0, 1, canvas.height).data;
    for (let n = 0; n < pixels.length; n += 4) if (pixels[n + 2] - pixels[n] > 40) return true;
    return false;
  };
  return [500, 1250, 2000, 2800, 3500].map(isDrawn);
}"""


def test_a_hole_stays_a_hole(browser: Browser, tmp_path: Path) -> None:
    """Neither line nor band is drawn where there are no rows."""
    schema = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())])
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=schema)
            for row in [*range(1_000), *range(3_000, 4_000)]:
                topic.push_row(row * 1_000_000, float(row % 7))
        figure = client.sequence_handler("s").topic("t").plot("x", 800)
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.set_content(file_html(figure, INLINE, "figure"))
        expect(page.locator(".bk-Figure canvas").first).to_be_visible()
        page.wait_for_function("Bokeh.documents[0].is_idle")
        drawn = page.evaluate(COLOURED)
    finally:
        context.close()
    assert drawn == [True, False, False, False, True]
