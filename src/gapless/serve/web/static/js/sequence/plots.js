// The tab of plots: fields to choose, figures that zoom and pan together, the cursor, labels to draw.

import { el, replace } from "../core/dom.js";
import * as message from "../core/message.js";
import { CurveFeed } from "./curve_feed.js";
import { FieldTree } from "./field_tree.js";
import { nameOf } from "./view.js";
import { PlotKeys } from "./plot_keys.js";
import { PlotPointer } from "./plot_pointer.js";
import { PlotStack } from "./plot_stack.js";
import { PlotTools } from "./plot_tools.js";
import { spanWords } from "./span_words.js";

const STILL_FRAMES = 12; // a chart is laid out and painted some frames after it came on screen
const WIDE = "(min-width: 60rem)";

/** Fills a panel; `labelling` asks for the name of a drawn span, `camerasNode` goes above the figures. */
export class Plots {
  constructor(panel, { view, description, marks, labelling, labelsNode, camerasNode }) {
    Object.assign(this, { view, description, marks });
    this.area = el("div", {
      class: "plots-area",
      tabindex: "0",
      role: "group",
      "aria-label": "Plots",
      "aria-describedby": "plots-keys",
    });
    this.note = el("div", { class: "plots-note" });
    this.told = el("p", { class: "plots-told" });
    const tree = el("div", { class: "field-tree" });
    const tools = el("div", { class: "toolbar plots-tools", role: "toolbar", "aria-label": "Plots" });
    replace(panel, this.#layout({ tools, tree, labelsNode, camerasNode }));
    this.stack = new PlotStack(this.area, view, marks, (field) => this.description.field(field));
    this.tree = new FieldTree(tree, view, description);
    this.tools = new PlotTools(tools, view, this.stack);
    this.pointer = new PlotPointer(this.area, view, this.stack, this.tools, labelling);
    this.keys = new PlotKeys(this.area, view, this.stack, labelling);
    this.feed = new CurveFeed(description.path, view.originNs, this.#tell());
    for (const name of ["span", "fields"]) view.on(name, () => this.want());
    for (const name of ["span", "cursor", "axis", "fields"]) view.on(name, () => this.#say());
    new ResizeObserver(() => this.want()).observe(this.area);
    this.stack.build();
    this.want({ now: true });
    this.#say();
  }

  #layout({ tools, tree, labelsNode, camerasNode }) {
    const isWide = matchMedia(WIDE).matches;
    const fields = el("details", { class: "card plots-fields", open: isWide }, el("summary", {}, "Fields"), tree);
    const keys = el("details", { class: "plots-help" }, el("summary", {}, "Keys and mouse"), keyHelp());
    return el(
      "div",
      { class: "plots" },
      el("div", { class: "plots-side" }, fields, labelsNode, keys),
      el("div", { class: "plots-main" }, tools, this.told, camerasNode, this.note, this.area),
    );
  }

  #tell() {
    return {
      curves: (curves) => {
        this.stack.show(curves);
        replace(this.note);
        this.area.dataset.requests = this.feed.requests;
        this.area.dataset.exact = String(curves.every((curve) => curve.exact));
      },
      waiting: (isWaiting) => this.area.setAttribute("aria-busy", String(isWaiting)),
      failed: (error, retry) => message.failed(this.note, error, retry),
    };
  }

  /** Bring the curves of the view's span; `again` also when nothing changed but the recording. */
  want(how = {}) {
    const { view } = this;
    if (view.fields.length === 0) {
      message.empty(this.note, "No field is plotted.", "Tick one under Fields.");
      return;
    }
    const known = view.fields.filter((field) => this.description.field(field) !== null);
    if (known.length < view.fields.length) {
      const lost = view.fields.filter((field) => !known.includes(field));
      const isText = lost.every((field) => this.#isText(field));
      const names = lost.map(nameOf).join(", ");
      const words = isText ? `${names} cannot be plotted: no number.` : `There is no ${names} in this sequence.`;
      message.empty(this.note, words, isText ? "The Table shows its rows." : "Choose others under Fields.");
      return;
    }
    this.feed.want(view.fields, view.fromNs, view.toNs, this.stack.pixels, how);
  }

  #isText({ topic, field }) {
    return this.description.topic(topic)?.columns.has(field) ?? false;
  }

  /** Take over what a recording has become. */
  describe(description) {
    this.description = description;
    this.tree.describe(description);
    this.want({ again: true });
  }

  #say() {
    const { view } = this;
    Object.assign(this.area.dataset, { from: view.fromNs, to: view.toNs });
    replace(this.told, spanWords(view));
  }

  /** Resolve once the curves of the span are here and drawn, or were refused. */
  async drawn() {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    for (let still = 0; still < STILL_FRAMES; still = this.isAtRest ? still + 1 : 0) await frame();
  }

  /** True while nothing is on its way and every figure has its place on screen. */
  get isAtRest() {
    const isWaiting = this.feed.isWaiting || this.area.dataset.even === "false";
    const areas = this.stack.figures.map(({ chart }) => chart.area);
    return !isWaiting && areas.every((area) => area !== null && area.right > area.left);
  }

  /** Return the pictures of the figures, one above the other, as a canvas. */
  picture() {
    return this.stack.figures.map((figure) => ({
      canvas: figure.chart.picture(),
      title: figure.members.map(nameOf).join(", "),
    }));
  }
}

function keyHelp() {
  const keys = [
    [["←", "→"], "cursor to the row before or after; one pixel where rows are not drawn"],
    [["Shift ←", "Shift →"], "move the span"],
    [["+", "−"], "zoom at the cursor"],
    [["0"], "show all"],
    [["Home", "End"], "cursor to the edge of the span"],
    [["[", "]"], "begin and end a label at the cursor"],
    [["Esc"], "take the cursor away"],
  ];
  const mouse = [
    ["Wheel, drag", "zoom, move"],
    ["Click", "hold the cursor, or let it go"],
    ["Shift drag", "draw a label"],
  ];
  return el(
    "dl",
    { class: "facts", id: "plots-keys" },
    keys.map(([names, words]) => [el("dt", {}, names.map((name) => [kbd(name), " "])), el("dd", {}, words)]),
    mouse.map(([name, words]) => [el("dt", {}, kbd(name)), el("dd", {}, words)]),
  );
}

function kbd(name) {
  return el("span", { class: "kbd" }, name);
}
