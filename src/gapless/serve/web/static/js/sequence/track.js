// The tab of positions: a track seen from above, equal in both directions, coloured by time, with the cursor on it.

import * as api from "../core/api.js";
import { Chart, extremes, palette } from "../core/bokeh_plot.js";
import { el, replace } from "../core/dom.js";
import { offsetOf } from "../core/frame.js";
import * as message from "../core/message.js";
import { curvesOf, drawn } from "./curve.js";
import { exactTime, nearest, numberText } from "./exact.js";
import { hues } from "./hues.js";
import { bucketsParted, lonelyAt, rowsParted } from "./pauses.js";
import { linkOf } from "./view.js";

const POINTS = 4000;
const PAUSE_MS = 120;
const HEIGHT = 520;
const METRES_PER_DEGREE = 111_195; // of a great circle on a sphere of the Earth's mean radius
const EMPTY = { x0: [], y0: [], x1: [], y1: [], colour: [] };
const DOTS = { x: [], y: [], colour: [] };

/** Fills a panel with the tracks of the sequence, one at a time; none is drawn across the gaps of its topic. */
export class Track {
  #timer = 0;
  #asked = null;

  constructor(panel, view, { description, marks }) {
    Object.assign(this, { view, marks, path: description.path, tracks: description.tracks });
    this.chosen = this.tracks[0];
    const choose = el("select", { "aria-label": "Track" });
    choose.append(...this.tracks.map((track, n) => el("option", { value: n }, `${track.topic} ${track.stem}`)));
    choose.addEventListener("change", () => {
      this.chosen = this.tracks[Number(choose.value)];
      this.curves = null; // of the track before
      this.want();
    });
    this.told = el("output", { class: "track-told" });
    this.note = el("div");
    this.area = el("div", { class: "track-area" });
    this.hues = el("span", { class: "track-hues" });
    const legend = el("span", { class: "track-legend muted" }, "start ", this.hues, " end");
    const bar = el("div", { class: "toolbar" }, this.tracks.length > 1 ? choose : null, legend, this.told);
    replace(panel, el("div", { class: "card track" }, bar, this.note, this.area));
    this.#chart();
    for (const name of ["cursor", "axis"]) view.on(name, () => this.#point());
    view.on("span", () => this.want());
    marks.on(() => this.curves && this.#redraw());
    this.want();
  }

  #chart() {
    this.chart = new Chart(this.area, { height: HEIGHT, equal: true });
    const ends = { x0: { field: "x0" }, y0: { field: "y0" }, x1: { field: "x1" }, y1: { field: "y1" } };
    const look = { line_color: { field: "colour" }, line_width: 2, line_cap: "round" };
    this.segments = this.chart.add("Segment", { ...ends, ...look }, EMPTY);
    const alone = { x: { field: "x" }, y: { field: "y" }, size: 4 };
    this.alone = this.chart.add("Scatter", { ...alone, fill_color: { field: "colour" }, line_color: null }, DOTS);
    const dot = { x: { field: "x" }, y: { field: "y" }, size: 12, line_width: 2, fill_alpha: 0.4 };
    this.dot = this.chart.add("Scatter", dot, { x: [], y: [] }, { level: "overlay" });
    this.chart.restyled = () => this.#style();
    this.#style();
    new ResizeObserver(() => this.#fit()).observe(this.area);
  }

  #style() {
    const { text } = palette();
    Object.assign(this.dot.renderer.glyph, { line_color: text, fill_color: text });
    this.hues.style.background = `linear-gradient(90deg, ${hues(3).join(", ")})`;
    if (this.points) this.#draw();
  }

  /** Bring the track of the span on screen, a little later than asked. */
  want() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
  }

  async #ask() {
    const { view, chosen } = this;
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    const fields = [chosen.x, chosen.y].map((field) => linkOf({ topic: chosen.topic, field }));
    const span = { start_ns: view.fromNs, end_ns: view.toNs };
    this.area.setAttribute("aria-busy", "true");
    try {
      const wanted = { fields, ...span, points: POINTS };
      const frame = await api.frame(`${this.path}/curves`, wanted, { signal: asked.signal });
      this.#take(curvesOf(frame, view.originNs));
    } catch (error) {
      if (api.isAborted(error)) return;
      message.failed(this.note, error, () => this.#ask());
    }
    this.area.setAttribute("aria-busy", "false");
  }

  #take(curves) {
    this.curves = curves;
    this.baseNs = curves[0].baseNs;
    this.isExact = curves[0].exact;
    this.#redraw();
    if (this.points.length === 0) message.empty(this.note, "No position in this span.", "Zoom out in the plots.");
    else replace(this.note);
    this.#fit();
    this.#point();
  }

  #redraw() {
    this.points = pointsOf(...this.curves, this.marks.gapsOf(this.chosen.topic));
    this.#place();
    this.#draw();
  }

  // Degrees become metres from the first point, so that the shape is true; other units stay.
  #place() {
    const [first] = this.points;
    if (!first) return;
    const { isGlobe } = this.chosen;
    const wide = METRES_PER_DEGREE * Math.cos((first.y * Math.PI) / 180);
    for (const point of this.points) {
      point.across = isGlobe ? (point.x - first.x) * wide : point.x;
      point.up = isGlobe ? (point.y - first.y) * METRES_PER_DEGREE : point.y;
    }
    const words = isGlobe ? ["m east of the start", "m north of the start"] : [this.chosen.x, this.chosen.y];
    this.chart.figure.xaxes[0].axis_label = words[0];
    this.chart.figure.yaxes[0].axis_label = words[1];
  }

  #draw() {
    const { points } = this;
    const colours = hues(points.length);
    const data = { x0: [], y0: [], x1: [], y1: [], colour: [] };
    for (let n = 1; n < points.length; n += 1) {
      if (points[n].isParted) continue;
      data.x0.push(points[n - 1].across);
      data.y0.push(points[n - 1].up);
      data.x1.push(points[n].across);
      data.y1.push(points[n].up);
      data.colour.push(colours[n]);
    }
    this.segments.source.data = data;
    const alone = lonelyAt(points.map(({ isParted }) => isParted));
    this.alone.source.data = {
      x: alone.map((n) => points[n].across),
      y: alone.map((n) => points[n].up),
      colour: alone.map((n) => colours[n]),
    };
    this.area.setAttribute("role", "img");
    this.area.setAttribute("aria-label", `Track of ${this.chosen.topic}, ${points.length} points`);
  }

  // One metre is as long across as up: the shorter side gets what is left.
  async #fit() {
    await this.chart.ready;
    const { area } = this.chart;
    if (!this.points?.length || area === null || area.right <= area.left) return;
    const [left, right] = extremes([this.points.map(({ across }) => across)]);
    const [low, high] = extremes([this.points.map(({ up }) => up)]);
    const [width, height] = [area.right - area.left, area.bottom - area.top];
    const scale = 1.1 * Math.max((right - left) / width, (high - low) / height) || 1 / width;
    const around = (middle, pixels) => ({
      start: middle - (scale * pixels) / 2,
      end: middle + (scale * pixels) / 2,
    });
    this.chart.range.setv(around((left + right) / 2, width));
    this.chart.yRange.setv(around((low + high) / 2, height));
  }

  #point() {
    const { view, points = [] } = this;
    const wanted = view.cursorNs === null || points.length === 0 ? null : Number(view.cursorNs - this.baseNs);
    if (wanted === null) {
      this.dot.source.data = { x: [], y: [] };
      replace(this.told);
      return;
    }
    const point = points[nearest(points.map(({ offset }) => offset), wanted)];
    this.dot.source.data = { x: [point.across], y: [point.up] };
    const when = exactTime(this.baseNs + BigInt(Math.round(point.offset)), view.axis, view.originNs);
    const { x, y } = this.chosen;
    const place = [`${y} ${numberText(point.y, "double")}`, `${x} ${numberText(point.x, "double")}`];
    replace(this.told, `${place.join(", ")} at ${when}${this.isExact ? "" : " (mean of several rows)"}`);
  }
}

// Rows without a position have neither or one of both; only those with both are points of the track. What parts the
// lines of its numbers parts the track: a gap, a pause, a number that is none.
function pointsOf(xs, ys, gaps) {
  const [across, up] = [xs, ys].map((curve) => stamped(curve));
  const known = new Map(up.offsets.map((offset, n) => [offset, up.values[n]]));
  const isCut = cuts(xs, across.offsets, gaps);
  const points = [];
  let isParted = false;
  across.offsets.forEach((offset, n) => {
    const [x, y] = [across.values[n], known.get(offset)];
    isParted ||= isCut[n] || Number.isNaN(x) || Number.isNaN(y);
    if (!Number.isFinite(x) || !Number.isFinite(y)) return;
    points.push({ offset, x, y, isParted });
    isParted = false;
  });
  return points;
}

function cuts(curve, x, gaps) {
  const strips = gaps.map(({ startNs, endNs }) => ({
    x0: offsetOf(curve.baseNs, startNs),
    x1: offsetOf(curve.baseNs, endNs),
  }));
  return curve.exact ? rowsParted(x, strips) : bucketsParted({ left: curve.starts, right: curve.ends, x }, strips);
}

function stamped(curve) {
  if (curve.exact) return { offsets: [...curve.times], values: drawn(curve.values) };
  const offsets = [...curve.starts].map((start, n) => (start + curve.ends[n]) / 2);
  return { offsets, values: curve.means };
}
