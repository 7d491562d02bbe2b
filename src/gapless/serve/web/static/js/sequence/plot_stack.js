// The figures, one above the other, on one time axis: span, cursor and marks of the view, drawn.

import { onMove } from "../core/bokeh_plot.js";
import { replace } from "../core/dom.js";
import { Figure, readoutWords } from "./figure.js";
import { timeTicks } from "./time_axis.js";
import { linkOf } from "./view.js";

const LEAST_HEIGHT = 132;
const MOST_HEIGHT = 460;
const TICK_PIXELS = 110;
const NARROW = 600;
const SETTLE_MS = 60;

/** Draws the fields of the view in a node. */
export class PlotStack {
  #frame = 0;
  #measuring = 0;

  constructor(node, view, marks, describeField) {
    Object.assign(this, { node, view, marks, describeField });
    this.figures = [];
    this.curves = new Map();
    view.on("span", () => this.#moved());
    view.on("axis", () => this.#ticks());
    view.on("cursor", () => this.#later());
    view.on("fields", () => this.build());
    marks.on(() => this.#drawKnown()); // rows are not joined across a gap that is known late
    marks.on(() => this.#mark());
    new ResizeObserver(() => this.#ticks()).observe(node);
  }

  /** The width of the drawn area in pixels. */
  get pixels() {
    const area = this.figures[0]?.chart.area;
    return area ? area.right - area.left : this.node.clientWidth;
  }

  /** Make the figures of the view's fields; curves that are here already are drawn again. */
  build() {
    for (const figure of this.figures) figure.remove();
    replace(this.node);
    const groups = this.#groups();
    const left = this.node.clientWidth < NARROW ? 54 : 76;
    const height = this.#height(groups.length);
    const [start, end] = this.#span;
    this.figures = groups.map((members, n) => {
      const axis = n === groups.length - 1;
      return new Figure(this.node, members, { start, end, height: axis ? height + 36 : height, axis, left });
    });
    for (const { chart } of this.figures) {
      onMove(chart.range, (from, to) => this.view.setSpan(this.view.timeAt(from), this.view.timeAt(to)));
    }
    Promise.all(this.figures.map((figure) => figure.chart.ready)).then(() => this.#ticks());
    this.#drawKnown();
    this.#mark();
  }

  // What is on screen, in drawn offsets.
  get #span() {
    const { view } = this;
    return [view.offset(view.fromNs), view.offset(view.toNs)];
  }

  #groups() {
    const members = this.view.fields.map((field, number) => ({ ...field, number, about: this.describeField(field) }));
    if (!this.view.join) return members.map((member) => [member]);
    const groups = new Map();
    for (const member of members) {
      const unit = member.about?.unit || linkOf(member);
      groups.set(unit, [...(groups.get(unit) ?? []), member]);
    }
    return [...groups.values()];
  }

  #height(count) {
    const room = innerHeight - this.node.getBoundingClientRect().top - scrollY - 60;
    return Math.round(Math.min(MOST_HEIGHT, Math.max(LEAST_HEIGHT, room / Math.max(count, 1) - 30)));
  }

  /** Draw the curves of all fields. */
  show(curves) {
    this.curves = new Map(curves.map((curve) => [linkOf(curve.about), curve]));
    this.#drawKnown();
  }

  #drawKnown() {
    for (const figure of this.figures) {
      const curves = figure.members.map((member) => this.curves.get(linkOf(member)));
      if (curves.every((curve) => curve !== undefined)) figure.show(curves, this.#gapStrips(figure));
    }
    this.#fit();
    this.#later();
  }

  #fit() {
    for (const figure of this.figures) figure.fit(...this.#span);
    this.#measuring ||= setTimeout(() => this.#settle(), SETTLE_MS);
  }

  // Labels of the y axis may have become longer; the charts know their place once they are laid out again.
  #settle() {
    this.#measuring = 0;
    this.#measure();
    if (this.node.dataset.even === "false") this.#measuring = setTimeout(() => this.#settle(), SETTLE_MS);
  }

  #moved() {
    for (const { chart } of this.figures) chart.move(...this.#span);
    this.#ticks();
    this.#name();
    this.#fit();
  }

  #ticks() {
    const { view } = this;
    const wanted = Math.max(2, Math.floor(this.pixels / TICK_PIXELS));
    const { times, words, title } = timeTicks(view.fromNs, view.toNs, view.axis, view.originNs, wanted);
    const values = times.map((ns) => view.offset(ns));
    for (const figure of this.figures) figure.chart.ticks(values, words, title);
    this.#measure();
  }

  // Figures begin below each other: all keep as much room for the y axis as the widest needs. Where the drawn area
  // begins and ends is told in pixels of the node.
  #measure() {
    const areas = this.figures.map(({ chart }) => chart.area).filter(Boolean);
    if (areas.length === 0) return;
    const { left } = this.node.getBoundingClientRect();
    const widest = Math.ceil(Math.max(...areas.map((area) => area.left)) - left);
    const isEven = areas.every((area) => area.left === areas[0].left);
    if (!isEven) for (const { chart } of this.figures) chart.figure.min_border_left = widest;
    Object.assign(this.node.dataset, { left: areas[0].left - left, right: areas[0].right - left, even: isEven });
  }

  #gapStrips(figure) {
    const gaps = figure.members.flatMap(({ topic }) => this.marks.gapsOf(topic));
    return gaps.map((gap) => this.#strip(gap));
  }

  #strip({ startNs, endNs, name }) {
    return { x0: this.view.offset(startNs), x1: this.view.offset(endNs), name };
  }

  #mark() {
    const labels = this.marks.labels.map((label) => this.#strip(label));
    for (const figure of this.figures) figure.mark(this.#gapStrips(figure), labels);
    this.#name();
  }

  #name() {
    this.figures[0]?.name(this.marks.labels.map((label) => this.#strip(label)), ...this.#span);
  }

  // The cursor follows the pointer; it is drawn once for each frame of the screen.
  #later() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#point());
  }

  #point() {
    const { cursorNs } = this.view;
    const offset = cursorNs === null ? 0 : this.view.offset(cursorNs);
    const pixelNs = Number(this.view.toNs - this.view.fromNs) / Math.max(1, this.pixels);
    for (const figure of this.figures) figure.point(cursorNs, { offset, pixelNs }, readoutWords);
  }

  /** Show the span that is being drawn, `{startNs, endNs}`, or null. */
  draw(span) {
    for (const figure of this.figures) figure.draw(span === null ? null : this.#strip(span));
  }

  /** Let a drag pan, or zoom into the box that it draws. */
  drag(way) {
    for (const { chart } of this.figures) {
      chart.figure.toolbar.active_drag = way === "zoom" ? chart.box : way === "pan" ? chart.pan : null;
    }
  }

  /** Return the time under a client pixel, null outside the figures. */
  timeAt(clientX) {
    const x = this.figures[0]?.chart.xAt(clientX);
    return x === undefined || Number.isNaN(x) ? null : this.view.timeAt(x);
  }

  /** The time of the next row in a direction from the cursor, in the first field that shows rows; else null. */
  nextRow(direction) {
    for (const figure of this.figures) {
      const next = figure.curves[0]?.step(this.view.cursorNs, direction) ?? null;
      if (next !== null) return next;
    }
    return null;
  }
}
