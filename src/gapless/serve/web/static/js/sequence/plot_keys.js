// The keyboard over the figures: everything that the mouse does, to the row.

import { announce } from "../core/message.js";
import { nameOf } from "./view.js";

const SPEAK_PAUSE_MS = 400;

/** Listens while the figures have the focus. */
export class PlotKeys {
  #begunNs = null;
  #speaking = 0;

  constructor(area, view, stack, labelling) {
    Object.assign(this, { area, view, stack, labelling });
    area.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { view } = this;
    const acts = {
      ArrowLeft: () => (event.shiftKey ? view.pan(-0.25) : this.#step(-1)),
      ArrowRight: () => (event.shiftKey ? view.pan(0.25) : this.#step(1)),
      "+": () => view.zoom(0.5, view.cursorNs),
      "=": () => view.zoom(0.5, view.cursorNs),
      "-": () => view.zoom(2, view.cursorNs),
      0: () => view.showAll(),
      Home: () => this.#put(view.fromNs),
      End: () => this.#put(view.toNs - 1n),
      Escape: () => this.#escape(),
      "[": () => this.#begin(),
      "]": () => this.#end(),
    };
    if (!(event.key in acts)) return;
    event.preventDefault();
    acts[event.key]();
  }

  #step(direction) {
    const { view } = this;
    if (view.cursorNs === null) {
      this.#put((view.fromNs + view.toNs) / 2n);
      return;
    }
    const pixelNs = (view.toNs - view.fromNs) / BigInt(Math.max(1, Math.round(this.stack.pixels)));
    this.#put(this.stack.nextRow(direction) ?? view.cursorNs + BigInt(direction) * (pixelNs || 1n));
  }

  // Where the cursor leaves the span, the span comes after it.
  #put(ns) {
    const { view } = this;
    view.setCursor(ns);
    if (ns < view.fromNs || ns > view.toNs) {
      const half = (view.toNs - view.fromNs) / 2n;
      view.setSpan(ns - half, ns + half);
    }
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => announce(this.#words()), SPEAK_PAUSE_MS);
  }

  #words() {
    const heads = this.stack.figures.flatMap((figure) =>
      figure.members.map((member, n) => `${nameOf(member)} ${figure.heads[n].value.textContent}`),
    );
    return heads.join(", ");
  }

  #escape() {
    this.#begunNs = null;
    this.stack.draw(null);
    this.view.setCursor(null);
  }

  #begin() {
    this.#begunNs = this.view.cursorNs;
    announce(this.#begunNs === null ? "Put the cursor somewhere first" : "The label begins here");
  }

  #end() {
    const [from, to] = [this.#begunNs, this.view.cursorNs];
    if (from === null || to === null) {
      announce("Begin the label with [ first");
      return;
    }
    const span = from <= to ? { startNs: from, endNs: to } : { startNs: to, endNs: from };
    this.stack.draw(span);
    this.#begunNs = null;
    this.labelling(span).finally(() => {
      this.stack.draw(null);
      this.area.focus();
    });
  }
}
