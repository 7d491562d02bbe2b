// One figure: fields over the shared time axis, each as exact rows or as a band of buckets with its mean.
// Above it stand the names, units and what the cursor reads; gaps, labels and the cursor are drawn over all.

import { Chart, extremes, palette } from "../core/bokeh_plot.js";
import { el, replace } from "../core/dom.js";
import { fixedSpread, hasValue } from "./curve.js";
import { numberText } from "./exact.js";
import { bandOutline, broken, bucketsParted, gapsBefore, lonely, pausesWithin, rowsParted } from "./pauses.js";
import { nameOf } from "./view.js";
import { rowsWords } from "./words.js";

const BOXES = { left: [], right: [], low: [], high: [], alpha: [] };
const [FULL, FAINT] = [0.35, 0.08]; // a bucket; one with a pause within it
const POINTS = { x: [], y: [] };
const STRIPS = { x0: [], x1: [] };
const NAMES = { x: [], text: [] };
const MOST_DOTS = 250;

/** Draws the curves of its members; `place` is what a chart takes: start, end, height, axis, left. */
export class Figure {
  /** `members` are `[{topic, field, about, number}]`: what the server says of the field; number is its colour. */
  constructor(node, members, place) {
    this.members = members;
    this.curves = [];
    this.heads = members.map((member) => this.#head(member));
    this.area = el("div", { class: "figure-area" });
    this.none = el("p", { class: "figure-none", hidden: true }, "No values in this span");
    this.node = el("section", { class: "figure", "aria-label": members.map(nameOf).join(", ") });
    this.node.append(el("div", { class: "figure-heads" }, this.heads.map((head) => head.node)), this.none, this.area);
    node.append(this.node);
    this.chart = new Chart(this.area, { ...place, label: unitOf(members) });
    this.#addLayers();
    this.chart.restyled = (colours) => this.#style(colours);
    this.#style(palette());
  }

  #head(member) {
    const swatch = el("span", { class: "figure-swatch", "aria-hidden": "true" });
    const value = el("output", { class: "figure-value" });
    const unit = member.about?.unit ? el("span", { class: "figure-unit" }, ` [${member.about.unit}]`) : null;
    const title = member.about?.description || null;
    const name = el("span", { class: "figure-name", title }, nameOf(member), unit);
    const above = el("span", { class: "figure-above" });
    return { node: el("div", { class: "figure-head" }, swatch, name, above, value), swatch, above, value };
  }

  #addLayers() {
    const { chart } = this;
    const strip = { x0: { field: "x0" }, x1: { field: "x1" } };
    this.gaps = chart.add("VStrip", { ...strip, fill_alpha: 0.18, line_alpha: 0.5 }, STRIPS, { level: "underlay" });
    this.labels = chart.add("VStrip", { ...strip, fill_alpha: 0.14, line_alpha: 0.8 }, STRIPS, { level: "underlay" });
    const name = { x: { field: "x" }, y: 1, text: { field: "text" }, x_offset: 3, y_offset: 3 };
    const small = { text_font_size: "11px", text_baseline: "top" };
    this.names = chart.add("Text", { ...name, ...small }, NAMES, { level: "overlay", edge: true });
    this.layers = this.members.map((member) => memberLayers(chart, member));
    this.drawnSpan = chart.add("VStrip", { ...strip, fill_alpha: 0.25, line_width: 1 }, STRIPS, { level: "overlay" });
    this.cursor = new window.Bokeh.Span({ dimension: "height", level: "overlay", line_width: 1, visible: false });
    chart.figure.add_layout(this.cursor);
  }

  #style(colours) {
    const paint = ({ renderer }, colour) => {
      const { glyph } = renderer;
      for (const property of ["fill_color", "line_color"]) if (property in glyph) glyph[property] = colour;
    };
    paint(this.gaps, colours.gap);
    paint(this.labels, colours.label);
    paint(this.drawnSpan, colours.label);
    this.names.renderer.glyph.text_color = colours.label;
    this.cursor.line_color = colours.text;
    this.layers.forEach((layers, n) => {
      const colour = colours.series[this.members[n].number % colours.series.length];
      Object.values(layers).forEach((layer) => paint(layer, colour));
      layers.at.renderer.glyph.line_color = colours.text;
      this.heads[n].swatch.style.background = colour;
    });
  }

  /** Draw the curves, one for each member in order; rows are not joined across the gaps of their topic. */
  show(curves, gaps) {
    this.curves = curves;
    this.#drawAbove();
    curves.forEach((curve, n) => {
      if (curve.exact) this.#showRows(curve, this.layers[n], gaps);
      else this.#showBuckets(curve, this.layers[n], gaps);
    });
    const shown = curves.map((curve) => `${nameOf(curve.about)}: ${rowsWords(curve.rows)}`).join(", ");
    this.area.setAttribute("role", "img");
    this.area.setAttribute("aria-label", `Plot. ${shown}`);
    this.#showNone(!curves.some(hasValue));
  }

  // An axis of numbers that nobody took would be made up.
  #showNone(isEmpty) {
    this.none.hidden = !isEmpty;
    this.chart.figure.yaxes[0].visible = !isEmpty;
  }

  // Large integers are drawn above the least of them, which the head names, if they are alone in the figure.
  #drawAbove() {
    const least = (this.curves.length === 1 ? this.curves[0].least : null) ?? 0n;
    for (const curve of this.curves) curve.drawAbove(least);
    replace(this.heads[0].above, least === 0n ? null : `drawn above ${least}`);
  }

  #showRows(curve, layers, gaps) {
    const points = curve.points();
    const parted = isStepped(curve.about) ? gapsBefore : rowsParted; // a state lasts until the next row
    const isParted = parted(points.x, gaps);
    set(layers.boxes, BOXES);
    set(layers.spread, points.low ? bandOutline(points, isParted) : POINTS);
    set(layers.line, broken(points, isParted));
    set(layers.dots, curve.rows <= MOST_DOTS ? { x: points.x, y: points.y } : lonely(points, isParted));
  }

  #showBuckets(curve, layers, gaps) {
    const points = curve.points();
    const { left, right, low, high, x, y } = points;
    const by = fixedSpread(curve.about);
    const alpha = pausesWithin(left, right).map((isHollow) => (isHollow ? FAINT : FULL));
    set(layers.boxes, { left, right, low, high, alpha });
    const isParted = bucketsParted(points, gaps);
    const around = { x, low: low.map((v) => v - by), high: high.map((v) => v + by) };
    set(layers.spread, by === null ? POINTS : bandOutline(around, isParted));
    set(layers.line, broken({ x, y }, isParted));
    set(layers.dots, lonely({ x, y }, isParted));
  }

  /** Make the numbers in the span of drawn offsets fill the height. */
  fit(from, to) {
    this.chart.fit(...extremes(this.curves.map((curve) => curve.reach(from, to))));
  }

  /** Shade gaps and labels, each `[{x0, x1, name}]` in drawn offsets. */
  mark(gaps, labels) {
    set(this.gaps, stripsOf(gaps));
    set(this.labels, stripsOf(labels));
  }

  /** Write the names of labels where they begin; of one that began before the span, at the edge of the span. */
  name(labels, from, to) {
    const named = labels.filter(({ x0, x1 }) => x1 >= from && x0 <= to);
    set(this.names, { x: named.map(({ x0 }) => Math.max(x0, from)), text: named.map(({ name }) => name) });
  }

  /** Show the span that is being drawn, null for none. */
  draw(span) {
    set(this.drawnSpan, span === null ? STRIPS : { x0: [span.x0], x1: [span.x1] });
  }

  /** Put the cursor at a time, null for none; the heads say what each field has there. */
  point(ns, { offset, pixelNs }, words) {
    this.cursor.visible = ns !== null;
    if (ns !== null) this.cursor.location = offset;
    this.members.forEach((member, n) => {
      const read = ns === null ? null : this.curves[n]?.at(ns, pixelNs) ?? null;
      replace(this.heads[n].value, read === null ? null : words(read, member));
      this.heads[n].value.dataset.exact = read === null ? "" : String(read.exact);
      set(this.layers[n].at, this.#mark(read, n));
    });
  }

  #mark(read, n) {
    if (read === null || !read.exact) return POINTS;
    const curve = this.curves[n];
    return { x: [curve.times[read.index] + curve.shift], y: [curve.points().y[read.index]] };
  }

  /** Take the figure off the page. */
  remove() {
    this.chart.remove();
    this.node.remove();
  }
}

function memberLayers(chart, member) {
  const x = { field: "x" };
  const [low, high] = [{ field: "low" }, { field: "high" }];
  const box = { left: { field: "left" }, right: { field: "right" }, bottom: low, top: high };
  const line = { x, y: { field: "y" }, line_width: 1.4 };
  return {
    spread: chart.add("Patch", { x, y: { field: "y" }, fill_alpha: 0.18, line_alpha: 0 }, POINTS),
    boxes: chart.add("Quad", { ...box, fill_alpha: { field: "alpha" }, line_alpha: 0.45, line_width: 1 }, BOXES),
    line: isStepped(member.about) ? chart.add("Step", { ...line, mode: "after" }, POINTS) : chart.add("Line", line, POINTS),
    dots: chart.add("Scatter", { x, y: { field: "y" }, size: 4 }, POINTS),
    at: chart.add("Scatter", { x, y: { field: "y" }, size: 8, line_width: 1.5 }, POINTS, { level: "overlay" }),
  };
}

function isStepped(about) {
  return /^(u?int|bool)/.test(about?.type ?? "");
}

function set({ source }, data) {
  source.data = { ...data };
}

function stripsOf(strips) {
  return { x0: strips.map(({ x0 }) => x0), x1: strips.map(({ x1 }) => x1) };
}

/** Return what the cursor reads, as nodes: the value with its unit and, where there is one, its uncertainty. */
export function readoutWords(read, { about }) {
  const unit = about?.unit ? ` ${about.unit}` : "";
  if (read.exact) {
    const spread = read.uncertainty ? el("span", { class: "figure-spread" }, ` ± ${read.uncertainty}`) : null;
    return [el("span", { class: "figure-number", "data-value": read.text }, read.text), spread, unit];
  }
  const mean = numberText(read.mean, "double");
  const rows = rowsWords(read.rows);
  const told = `${read.text}${unit} (least and greatest of ${rows}; mean ${mean}). Zoom in for each row.`;
  return [el("span", { class: "figure-number", title: told }, read.text), unit, ` of ${rows}`];
}

function unitOf(members) {
  const units = new Set(members.map(({ about }) => about?.unit ?? ""));
  return units.size === 1 ? [...units][0] : "";
}
