// Plots of numbers, drawn by BokehJS (window.Bokeh, loaded as classic scripts).
//
// Nothing here makes code from text, so that the page's content security policy holds. Colours come from the
// design tokens and change with the theme; sizes are CSS pixels.

import { onSetting } from "./settings.js";

const SERIES = 6;

/** Return the colours of the theme that is on screen, as Bokeh takes them. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: token("text"),
    muted: token("muted"),
    surface: token("surface"),
    line: token("line"),
    gap: token("bad"),
    label: token("curve-4"),
    series: Array.from({ length: SERIES }, (_, n) => token(`curve-${n + 1}`)),
  };
}

/** Call `moved(start, end)` at most once for each turn of the event loop in which the range moved. */
export function onMove(range, moved) {
  let told = false;
  const later = () => {
    if (told) return;
    told = true;
    queueMicrotask(() => {
      told = false;
      moved(range.start, range.end);
    });
  };
  range.properties.start.change.connect(later);
  range.properties.end.change.connect(later);
}

/**
 * One chart in a node: layers of glyphs over an x `range`. `await chart.ready` before measuring it.
 *
 * Options: `start` and `end` of x, `height`, `label` of the y axis, `axis` (false hides the x axis), `left`
 * (pixels kept for the y axis), `equal` (one unit is as long in x as in y, and both zoom).
 */
export class Chart {
  #view = null;
  #unstyle;

  constructor(node, { start = 0, end = 1, height = 220, label = "", axis = true, left = 72, equal = false } = {}) {
    const { Bokeh } = window;
    const zoom = equal ? "both" : "width";
    this.node = node;
    this.range = new Bokeh.Range1d({ start, end });
    this.yRange = new Bokeh.Range1d({ start: 0, end: 1 });
    this.pan = new Bokeh.PanTool({ dimensions: zoom });
    this.box = new Bokeh.BoxZoomTool({ dimensions: zoom, match_aspect: equal });
    this.wheel = new Bokeh.WheelZoomTool({ dimensions: zoom, zoom_on_axis: false });
    this.figure = new Bokeh.Plotting.figure({
      x_range: this.range, y_range: this.yRange, height, sizing_mode: "stretch_width", toolbar_location: null,
      tools: [this.pan, this.box, this.wheel], min_border_left: left, min_border_right: 12, min_border_top: 8,
      min_border_bottom: axis ? 40 : 8, // half a label of the y axis
      match_aspect: equal, lod_threshold: null, y_axis_label: label,
    });
    this.figure.extra_y_ranges = { edge: new Bokeh.Range1d({ start: 0, end: 1 }) };
    this.figure.toolbar.active_drag = this.pan;
    this.figure.toolbar.active_scroll = this.wheel;
    this.figure.xaxis.visible = axis;
    this.style();
    this.#unstyle = onSetting("theme", () => this.style());
    this.ready = this.#attach();
  }

  async #attach() {
    const { Bokeh } = window;
    this.document = new Bokeh.Document();
    this.document.add_root(this.figure);
    const views = await Bokeh.embed.add_document_standalone(this.document, this.node);
    this.#view = views.get(this.figure);
  }

  /**
   * Draw one glyph, such as `add("Line", { x: { field: "x" }, ... }, data)`; returns `{source, renderer}`. With
   * `edge` its y is counted from 0 at the bottom of the drawn area to 1 at the top.
   */
  add(glyph, attributes, data, { level = "glyph", edge = false } = {}) {
    const { Bokeh } = window;
    const source = new Bokeh.ColumnDataSource({ data });
    const how = edge ? { level, y_range_name: "edge" } : { level };
    const renderer = this.figure.add_glyph(new Bokeh[glyph](attributes), source, how);
    return { source, renderer };
  }

  /** Take what `add` returned off the chart. */
  drop(layer) {
    this.figure.renderers = this.figure.renderers.filter((renderer) => renderer !== layer.renderer);
  }

  /** Take over the colours of the theme. */
  style() {
    const colours = palette();
    const figure = this.figure;
    figure.background_fill_color = colours.surface;
    figure.border_fill_color = colours.surface;
    figure.outline_line_color = colours.line;
    for (const axis of figure.axes) {
      axis.axis_line_color = colours.line;
      axis.major_tick_line_color = colours.line;
      axis.minor_tick_line_color = null;
      axis.major_label_text_color = colours.muted;
      axis.axis_label_text_color = colours.text;
      axis.axis_label_text_font_style = "normal";
    }
    for (const grid of figure.grids) grid.grid_line_color = colours.line;
    this.restyled?.(colours);
  }

  /** Show these ticks on the x axis: values, their words, and the words below the axis. */
  ticks(values, words, title = "") {
    for (const axis of this.figure.xaxes) {
      axis.ticker = new window.Bokeh.FixedTicker({ ticks: values, minor_ticks: [] });
      axis.major_label_overrides = new Map(values.map((value, n) => [value, words[n]]));
      axis.axis_label = title;
    }
    for (const grid of this.figure.xgrids) grid.ticker = this.figure.xaxes[0].ticker;
  }

  /** Show these x values. */
  move(start, end) {
    if (this.range.start !== start || this.range.end !== end) this.range.setv({ start, end });
  }

  /** Let the y axis hold the numbers from low to high with a little room around them. */
  fit(low, high) {
    if (!(low <= high)) return;
    const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    this.yRange.setv({ start: low - room, end: high + room });
  }

  /** The drawn area in client pixels `{left, right, top, bottom}`, null before it is on screen. */
  get area() {
    const canvas = this.#view?.canvas_view?.el;
    if (!canvas) return null;
    const place = canvas.getBoundingClientRect();
    const { left, right, top, bottom } = this.#view.frame.bbox;
    return {
      left: place.left + left, right: place.left + right, top: place.top + top, bottom: place.top + bottom,
    };
  }

  /** Return the x value under a client pixel; NaN before the chart is on screen. */
  xAt(clientX) {
    const area = this.area;
    if (area === null || area.right <= area.left) return NaN;
    const { start, end } = this.range;
    return start + ((clientX - area.left) / (area.right - area.left)) * (end - start);
  }

  /** Return the client pixel of an x value; NaN before the chart is on screen. */
  pixelOf(x) {
    const area = this.area;
    if (area === null) return NaN;
    const { start, end } = this.range;
    return area.left + ((x - start) / (end - start)) * (area.right - area.left);
  }

  /** Return what is drawn as a canvas. */
  picture() {
    return this.#view.export("png", true).canvas;
  }

  /** Take the chart off the page. */
  remove() {
    this.#unstyle();
    this.ready.then(() => this.document.clear());
  }
}

/**
 * Show series of numbers as lines in one chart: `[{ name, x, y }]`, with a legend in words of ours above it.
 *
 * Returns the chart with `setLines(series)`, which draws other numbers in place.
 */
export function lineChart(node, { height = 240, xLabel = "", yLabel = "", series = [] } = {}) {
  const chart = new Chart(node, { height, label: yLabel });
  let layers = [];
  chart.setLines = (next) => {
    layers.forEach((layer) => chart.drop(layer));
    const colours = palette().series;
    layers = next.map(({ x, y }, n) => {
      const look = { x: { field: "x" }, y: { field: "y" }};
      const colour = colours[n % colours.length];
      return chart.add("Line", {...look, line_color: colour, line_width: 1.6}, { x: [...x], y: [...y] });
    });
    const [first, last] = extremes(next.map(({ x }) => x));
    if (first < last) chart.move(first, last);
    chart.fit(...extremes(next.map(({ y }) => y)));
    chart.shown = next;
  };
  chart.restyled = () => chart.shown && chart.setLines(chart.shown);
  for (const axis of chart.figure.xaxes) axis.axis_label = xLabel;
  chart.setLines(series);
  return chart;
}

/** Return the least and the greatest finite number of some lists, [Infinity, -Infinity] without any. */
export function extremes(lists) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const number of list) {
      if (number < low && Number.isFinite(number)) low = number;
      if (number > high && Number.isFinite(number)) high = number;
    }
  }
  return [low, high];
}
