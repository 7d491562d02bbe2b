// The buttons above the figures: zoom, what a drag does, the axis, figures of one unit joined.

import { el, replace } from "../core/dom.js";

const WAYS = [
  ["pan", "Move", "A drag moves the span"],
  ["zoom", "Zoom box", "A drag zooms into the span that it covers"],
  ["label", "Draw label", "A drag draws the span of a label (Shift and a drag always do)"],
];
const AXES = [
  ["local", "Local time"],
  ["utc", "UTC"],
  ["s", "Seconds"],
];

/** Fills a toolbar. `way` is what a drag does: `pan`, `zoom` or `label`. */
export class PlotTools {
  constructor(node, view, stack) {
    this.stack = stack;
    this.way = "pan";
    this.ways = WAYS.map(([way, words, title]) => {
      const about = { type: "button", class: "button", title, "data-needs": way === "label" ? "write" : null };
      return el("button", { ...about, onclick: () => this.choose(way) }, words);
    });
    const axis = el("select", { "aria-label": "Time axis", class: "plots-axis" });
    axis.append(...AXES.map(([value, words]) => el("option", { value }, words)));
    axis.addEventListener("change", () => view.setAxis(axis.value));
    const join = tick("Join equal units", view.join, (isOn) => view.setJoin(isOn));
    const follow = () => {
      axis.value = view.axis;
      join.box.checked = view.join;
    };
    for (const name of ["axis", "fields"]) view.on(name, follow);
    view.on("fields", () => this.choose(this.way));
    follow();
    const zooming = [
      button("−", "Zoom out", () => view.zoom(2, view.cursorNs)),
      button("+", "Zoom in", () => view.zoom(0.5, view.cursorNs)),
      button("All", "Show all", () => view.showAll()),
    ];
    this.more = el("span", { class: "plots-more" });
    replace(node, zooming, this.ways, axis, join.node, this.more);
    this.choose("pan");
  }

  /** Let a drag do this from now on. */
  choose(way) {
    this.way = way;
    this.ways.forEach((button, n) => button.setAttribute("aria-pressed", String(WAYS[n][0] === way)));
    this.stack.drag(way);
  }

  /** Put another control at the end. */
  add(node) {
    this.more.append(node);
  }
}

function button(words, title, act) {
  return el("button", { type: "button", class: "button", title, "aria-label": title, onclick: act }, words);
}

/** Return a box to tick, `{node, box}`, that tells its state. */
export function tick(words, isOn, tell) {
  const box = el("input", { type: "checkbox" });
  box.checked = isOn;
  box.addEventListener("change", () => tell(box.checked));
  return { node: el("label", { class: "plots-tick" }, box, ` ${words}`), box };
}
