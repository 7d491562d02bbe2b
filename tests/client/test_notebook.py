"""What a notebook shows of a sequence and of an answer."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.client.figure import draw
from gapless.client.plot import Plot, gaps_of, stretches
from gapless.client.topic_handler import TopicHandler
from gapless.errors import MissingExtra, UsageError

SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())])
NAME = "<script>alert(1)</script>&"


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a store with one sequence whose names are hostile."""
    made = gapless.connect(tmp_path)
    with made.sequence_create(NAME) as sequence:
        sequence.topic_create("<b>t", schema=SCHEMA).push_row(5, 1.0)
        sequence.topic_create("empty", schema=SCHEMA)
    return made


def test_a_sequence_is_a_table_of_its_topics(client: gapless.Client) -> None:
    """Topic, rows and times, escaped and without a script."""
    with client:
        page = client.sequence_handler(NAME)._repr_html_()
    assert "<script" not in page
    assert "<td>&lt;b&gt;t</td><td>-</td><td>1</td><td>5</td><td>5</td>" in page
    assert "<td>empty</td><td>-</td><td>0</td><td>-</td><td>-</td>" in page


def test_an_answer_is_a_table_of_its_sequences(client: gapless.Client) -> None:
    """Sequence, state, topics and number of spans, escaped and without a script."""
    with client:
        answer = client.query("rows >= 1")
        page = answer._repr_html_()
    assert "<script" not in page
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;&amp;</td><td>sealed</td>" in page


class Asked(HTMLParser):
    """The addresses that a browser would ask for when it reads a page."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads."""
        self.places += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_figure_is_made_without_a_network(client: gapless.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cell shows, what `show` embeds, and a whole page of it: nothing is fetched, and nothing asks to be."""
    import socket

    from bokeh.embed import components, file_html, json_item
    from bokeh.resources import INLINE

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was used")

    with client:
        figure = client.sequence_handler(NAME).topic("<b>t").plot()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    drawn = figure._repr_html_()
    assert drawn.startswith("<svg")
    assert "<script" not in drawn
    script, div = components(figure)
    assert "<div" in div
    page = file_html(figure, INLINE, "figure")
    asked = Asked()
    for text in (drawn, script, div, page):
        asked.feed(text)
    asked.close()
    assert [place for place in asked.places if "//" in place] == []
    item = json_item(figure)
    (root,) = item["doc"]["roots"]
    assert root["name"] == "Figure"  # a model that every BokehJS knows


def test_a_figure_has_band_line_unit_and_times(tmp_path: Path) -> None:
    """Least and greatest are exact in band and texts, times are milliseconds of UTC, the axis says the unit."""
    big = 2**62 + 1
    schema = pa.schema(
        [
            SCHEMA.field(0),
            pa.field("v", pa.float64(), metadata={"unit": "V"}),
            pa.field("i", pa.float64(), metadata={"unit": "A"}),
            pa.field("n", pa.int64(), metadata={"unit": "V"}),
        ]
    )
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=schema)
            for row in range(10):
                topic.push_row(row * 1_500_000, float(row), -float(row), big + row)
        read = client.sequence_handler("s").topic("t")
        figure: Any = read.plot("v")
        several: Any = read.plot(fields=["v", "i", "n"])
        empty: Any = read.plot("v", start_ns=10**18)
        with pytest.raises(UsageError):
            read.plot("v", fields=["i"])
        with pytest.raises(UsageError):
            read.plot(fields=[])
    band, line = figure.renderers
    assert list(line.data_source.data["time"]) == [row * 1.5 for row in range(10)]
    assert list(line.data_source.data["mean"]) == list(map(float, range(10)))
    assert list(band.data_source.data["low"]) == list(band.data_source.data["high"])
    assert figure.yaxis[0].axis_label == "v [V]"
    assert figure.xaxis[0].axis_label == "UTC"
    assert [axis.axis_label for axis in several.yaxis] == ["v, n [V]", "i [A]"]
    assert several.y_range.renderers == [r for r in several.renderers if r.y_range_name == "default"]
    assert several.renderers[-1].data_source.data["least"] == [str(big + row) for row in range(10)]
    assert len(empty.renderers[0].data_source.data["time"]) == 0


def test_without_bokeh_the_error_says_what_to_install(
    client: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """plot() names the extra; sketch() works all the same."""
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with client:
        topic = client.sequence_handler(NAME).topic("<b>t")
        with pytest.raises(MissingExtra, match=r"pip install 'gapless\[serve\]'"):
            topic.plot()
        assert "<svg" in topic.sketch()._repr_html_()


# -- holes -------------------------------------------------------------------------------------------

MS = 1_000_000


def recorded(root: Path, times_ns: list[int], gaps: Sequence[tuple[int, int]] = ()) -> TopicHandler:
    """Record a row at each time and return the topic, whose source told of these gaps."""
    client = gapless.connect(root)
    with client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=SCHEMA)
        other = sequence.topic_create("other", schema=SCHEMA)
        for row, time_ns in enumerate(times_ns):
            topic.push_row(time_ns, float(row))
        for start_ns, end_ns in gaps:
            topic.gap(None, "paused", start_ns=start_ns, end_ns=end_ns)
        other.gap(None, "paused", start_ns=times_ns[1] + 1, end_ns=times_ns[2] - 1)
    return client.sequence_handler("s").topic("t")


def lines_of(figure: Any) -> list[list[float]]:
    """Return the means of a figure's first line, stretch by stretch."""
    found: list[list[float]] = [[]]
    for value in figure.renderers[1].data_source.data["mean"]:
        if math.isnan(value):
            found.append([])
        else:
            found[-1].append(value)
    return [stretch for stretch in found if stretch]


def areas_of(figure: Any) -> list[tuple[float, float, float]]:
    """Return time, least and greatest value of each point that the first band has beyond those of rows."""
    data = figure.renderers[0].data_source.data
    points = zip(data["time"], data["low"], data["high"], data["mean"], strict=True)
    return [(time, low, high) for time, low, high, mean in points if math.isnan(mean)]


def test_no_line_leads_over_a_pause(tmp_path: Path) -> None:
    """The line of a figure ends and begins again, its band has no height there, and a sketch has two lines."""
    times = [row * MS for row in range(50)] + [200 * MS + row * MS for row in range(50)]
    topic = recorded(tmp_path, times)
    figure: Any = topic.plot("x")
    assert lines_of(figure) == [[float(row) for row in range(50)], [float(row) for row in range(50, 100)]]
    assert areas_of(figure) == [(49.0, 49.0, 49.0), (200.0, 50.0, 50.0)]
    assert figure._repr_html_().count("<polyline") == topic.sketch("x").svg().count("<polyline") == 2
    whole: Any = topic.plot("x", end_ns=50 * MS)
    assert lines_of(whole) == [[float(row) for row in range(50)]]
    assert whole._repr_html_().count("<polyline") == 1


def test_a_pause_within_and_between_few_buckets_is_one(tmp_path: Path) -> None:
    """Two bursts a day apart share a bucket each: their rows tell what is usual."""
    day = 86_400_000 * MS
    topic = recorded(tmp_path, [row * MS for row in range(50)] + [day + row * MS for row in range(50)])
    assert len(topic.downsample("x", 100)) == 2
    figure: Any = topic.plot("x", 100)
    assert lines_of(figure) == [[24.5], [74.5]]
    assert topic.sketch("x", 100).svg().count("<polyline") == 2
    dots = figure.renderers[2].data_source.data
    assert (list(dots["mean"]), dots["least"], dots["greatest"]) == (
        [24.5, 74.5],
        ["0.0", "50.0"],
        ["49.0", "99.0"],
    )


def test_a_bucket_with_a_pause_inside_stands_alone(tmp_path: Path) -> None:
    """A line to or from it would lead through times without a row."""
    begun = [row * 50 * MS for row in range(12)]  # twelve buckets; rows at both ends of the fourth
    times = [*begun[:3], begun[3], begun[3] + 2_000 * MS, *[2_050 * MS + time for time in begun[3:]]]
    curve = recorded(tmp_path, times).downsample("x")
    ends = curve.end_ns.copy()
    ends[3] = curve.start_ns[4]
    keep = np.arange(len(curve)) != 4
    names = ("start_ns", "rows", "minimum", "maximum", "mean")
    joined = dataclasses.replace(
        curve, end_ns=ends[keep], **{name: getattr(curve, name)[keep] for name in names}
    )
    assert stretches(joined).tolist() == [0, 0, 0, 1, *[2] * 9]


def test_rows_without_a_usual_step_are_one_line(tmp_path: Path) -> None:
    """A few rows, however far from each other: nobody knows what is missing."""
    figure: Any = recorded(tmp_path, [0, MS, 500 * MS, 501 * MS]).plot("x")
    assert lines_of(figure) == [[0.0, 1.0, 2.0, 3.0]]


def test_no_line_leads_over_a_gap_however_short(tmp_path: Path) -> None:
    """What the source says is missing parts the rows around it, also a span that lies between two of them."""
    topic = recorded(tmp_path, [row * MS for row in range(20)], [(4 * MS, 5 * MS), (9 * MS + 1, 9 * MS + 2)])
    gaps = gaps_of(topic.reader)
    assert gaps == [(4 * MS, 5 * MS), (9 * MS + 1, 9 * MS + 2)]
    figure: Any = topic.plot("x")
    parts = [range(5), range(5, 10), range(10, 20)]
    assert lines_of(figure) == [[float(row) for row in part] for part in parts]
    assert figure._repr_html_().count("<polyline") == topic.sketch("x").svg().count("<polyline") == 3


@pytest.mark.parametrize(
    ("gap", "parts"),
    [
        ((5, 5), [6, 4]),  # it is known where, and not how long
        ((4, 5), [5, 5]),  # it ended with row 5
        ((-9, -1), [10]),
        ((-9, 0), [10]),
        ((9, 99), [10]),
        ((0, 99), [1, 9]),  # rows that came meanwhile are rows
    ],
)
def test_a_gap_parts_what_lies_around_its_beginning(
    tmp_path: Path, gap: tuple[int, int], parts: list[int]
) -> None:
    """Rows at 0 to 9 ms; a gap in ms."""
    curve = recorded(tmp_path, [row * MS for row in range(10)]).downsample("x")
    held = stretches(curve, [(gap[0] * MS, gap[1] * MS)])
    assert np.bincount(held).tolist() == parts


def test_a_gap_within_a_bucket_of_many_rows_is_passed_over(tmp_path: Path) -> None:
    """There are rows before and behind it in that bucket; one that goes on behind its end parts it."""
    curve = recorded(tmp_path, [row * MS for row in range(1_000)]).downsample("x", 20)
    assert curve.rows.tolist() == [100] * 10
    assert stretches(curve, [(110 * MS, 120 * MS)]).tolist() == [0] * 10
    assert stretches(curve, [(199 * MS, 200 * MS)]).tolist() == [0, 0, *[1] * 8]
    assert stretches(curve, [(150 * MS, 200 * MS)]).tolist() == [0, 0, *[1] * 8]
    assert stretches(curve, []).tolist() == [0] * 10


def test_a_row_alone_is_a_dot(tmp_path: Path) -> None:
    """Between two gaps there is a row to which no line leads: it is seen all the same."""
    curve = recorded(tmp_path, [row * MS for row in range(10)]).downsample("x")
    gaps = [(4 * MS, 5 * MS), (5 * MS, 6 * MS)]
    figure: Any = draw([curve], gaps)
    dots = figure.renderers[2]
    assert list(dots.data_source.data["time"]) == [5.0]
    assert dots in figure.y_range.renderers
    assert len(draw([curve]).renderers) == 2
    assert 'stroke-linecap="round"' in Plot(curve, gaps).svg()
