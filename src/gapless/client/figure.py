"""Curves as a Bokeh figure: what ``.plot()`` returns. Needs the extra ``serve``; import it only to draw.

Each field is a band from minimum to maximum and a line of means over UTC; fields of one unit share an axis. A hole
stays a hole: band and line end before a gap or a pause and begin again behind it, and what stands alone is a dot.
The browser draws with float64: a time is exact to a quarter of a microsecond, an integer up to 2^53. The texts of
the hover tool are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.core.has_props import Local
from bokeh.model import Model
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool, LinearAxis
from bokeh.models.renderers import DataRenderer
from bokeh.palettes import Category10_10
from bokeh.plotting import figure
from numpy.typing import NDArray

from gapless.client.plot import Gap, Plot, stretches
from gapless.store.pyramid_read import Curve

_WIDTH, _HEIGHT = 720, 280
_TOOLS = "xpan,xwheel_zoom,box_zoom,reset,save"
_NS_IN_MS = 1_000_000
_TOOLTIPS = [
    ("time", "@time{%F %T.%3N}"),
    ("least", "@least"),
    ("mean", "@mean"),
    ("greatest", "@greatest"),
    ("rows", "@rows"),
]


class CurveFigure(figure, Local):  # Local: BokehJS and saved documents know it as the plain figure that it is
    """A Bokeh figure of curves, for ``bokeh.io.show``, ``save`` and layouts.

    As the value of a notebook cell it is a drawing without a script, which every viewer shows.
    """

    __view_model__ = "Figure"
    __view_module__ = "bokeh.plotting.figure"

    def __init__(self, curves: Sequence[Curve], gaps: Sequence[Gap], **words: Any) -> None:
        super().__init__(**words)
        self._curves, self._gaps = tuple(curves), gaps

    def _repr_html_(self) -> str:
        return "".join(Plot(curve, self._gaps).svg() for curve in self._curves)


def draw(curves: Sequence[Curve], gaps: Sequence[Gap] = ()) -> CurveFigure:
    """Return a figure of at least one curve of a topic with these gaps."""
    units = list(dict.fromkeys(curve.unit or "" for curve in curves))
    ranges = {unit: DataRange1d() for unit in units}
    title = curves[0].topic if len(curves) > 1 else f"{curves[0].topic}  {curves[0].field}"
    made = CurveFigure(
        curves,
        gaps,
        title=title,
        width=_WIDTH,
        height=_HEIGHT,
        x_axis_type="datetime",
        x_axis_label="UTC",
        y_range=ranges[units[0]],
        tools=_TOOLS,
        active_scroll="xwheel_zoom",
    )
    made.yaxis[0].axis_label = _label(units[0], curves)
    names = {unit: f"axis {number}" if number else "default" for number, unit in enumerate(units)}
    for unit in units[1:]:
        made.extra_y_ranges[names[unit]] = ranges[unit]
        made.add_layout(LinearAxis(y_range_name=names[unit], axis_label=_label(unit, curves)), "right")
    drawn: dict[str, list[Model]] = {unit: [] for unit in units}
    for curve, color in zip(curves, _colors(len(curves)), strict=True):
        unit = curve.unit or ""
        drawn[unit] += _draw_one(made, curve, gaps, color, names[unit])
    for unit in units:  # else each axis would make room for the values of all
        ranges[unit].renderers = drawn[unit]
    made.legend.visible = len(curves) > 1
    made.legend.click_policy = "hide"
    return made


def _draw_one(
    made: CurveFigure, curve: Curve, gaps: Sequence[Gap], color: str, axis: str
) -> list[DataRenderer]:
    held = stretches(curve, gaps)
    breaks = np.flatnonzero(np.diff(held)) + 1
    columns = _columns(curve)
    source = _source(_broken(columns, breaks))
    words: dict[str, Any] = {"color": color, "legend_label": curve.field, "y_range_name": axis}
    band = made.varea("time", "low", "high", source=source, fill_alpha=0.25, **words)
    line = made.line("time", "mean", source=source, line_width=1.5, **words)
    drawn: list[DataRenderer] = [band, line]
    alone = np.bincount(held)[held] == 1
    if alone.any():
        dots = _source({name: values[alone] for name, values in columns.items()})
        drawn.append(made.scatter("time", "mean", source=dots, size=4, **words))
    hover = HoverTool(
        renderers=drawn[1:], mode="vline", tooltips=_TOOLTIPS, formatters={"@time": "datetime"},
        description=f"Values of {curve.field}",
    )  # fmt: skip
    made.add_tools(hover)
    return drawn


def _columns(curve: Curve) -> dict[str, NDArray[Any]]:
    """Return what the browser gets: milliseconds since 1970 of each bucket's middle, its values, and exact texts."""
    half = (curve.end_ns.view(np.uint64) - curve.start_ns.view(np.uint64)) // 2  # exact over all of int64
    middle = (curve.start_ns.view(np.uint64) + half).view(np.int64)
    return {
        "time": middle // _NS_IN_MS + (middle % _NS_IN_MS) / _NS_IN_MS,
        "low": curve.minimum.astype(np.float64),
        "high": curve.maximum.astype(np.float64),
        "mean": curve.mean,
        "least": np.array([str(value) for value in curve.minimum.tolist()], object),
        "greatest": np.array([str(value) for value in curve.maximum.tolist()], object),
        "rows": curve.rows,
    }


def _broken(columns: dict[str, NDArray[Any]], breaks: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the columns with two rows more before each of ``breaks``: there the line ends, and the band is shut.

    A band ends at no NaN. It gets the width 0 instead, from the bucket before the hole to the one behind it.
    """
    sides = np.stack([breaks - 1, breaks], axis=1).ravel()
    low = columns["low"][sides]
    shut: dict[str, Any] = {
        "time": columns["time"][sides],
        "low": low,
        "high": low,
        "mean": np.nan,
        "rows": 0,
    }
    places = np.repeat(breaks, 2)
    return {name: np.insert(values, places, shut.get(name, "none")) for name, values in columns.items()}


def _source(columns: dict[str, NDArray[Any]]) -> ColumnDataSource:
    """Return columns as Bokeh takes them: texts as a list."""
    return ColumnDataSource(
        {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    )


def _colors(count: int) -> list[str]:
    return [Category10_10[number % len(Category10_10)] for number in range(count)]


def _label(unit: str, curves: Sequence[Curve]) -> str:
    """Return what stands at an axis: its unit, and its fields where another axis has others."""
    named = ", ".join(curve.field for curve in curves if (curve.unit or "") == unit)
    return f"{named} [{unit}]" if unit else named
