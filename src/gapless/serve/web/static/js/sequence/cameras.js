// All cameras of a sequence side by side, in step with the cursor; they stand where they are looked at.

import { el, replace } from "../core/dom.js";
import { tick } from "./plot_tools.js";
import { Camera } from "./camera.js";

const SHOWN_AT_FIRST = 4;

/** The cameras of the topics in one node, which a tab takes to itself while it is shown. */
export class Cameras {
  constructor(view, topics) {
    Object.assign(this, { view, topics });
    this.cameras = new Map();
    this.row = el("div", { class: "cameras-row" });
    this.choice = el("div", { class: "toolbar cameras-choice", role: "group", "aria-label": "Cameras" });
    this.node = el("div", { class: "cameras" }, this.choice, this.row);
    view.on("cursor", () => this.#follow());
    view.on("axis", () => this.#follow());
    view.on("span", () => view.cursorNs === null && this.#follow());
  }

  /** Stand in this node from now on. */
  moveTo(node) {
    if (this.cameras.size === 0) this.#begin();
    node.append(this.node);
    this.#follow();
  }

  /** Stand nowhere; nothing plays or loads. */
  leave() {
    for (const camera of this.cameras.values()) camera.pause();
    this.node.remove();
  }

  #begin() {
    const shown = this.topics.slice(0, SHOWN_AT_FIRST);
    for (const topic of shown) this.#show(topic);
    if (this.topics.length < 2) return;
    replace(
      this.choice,
      this.topics.map((topic) => tick(topic.name, shown.includes(topic), (isOn) => this.#choose(topic, isOn)).node),
    );
  }

  #choose(topic, isOn) {
    if (isOn) this.#show(topic);
    else {
      const camera = this.cameras.get(topic.name);
      camera.pause();
      camera.node.remove();
      this.cameras.delete(topic.name);
    }
  }

  #show(topic) {
    const camera = new Camera(topic, this.view);
    this.cameras.set(topic.name, camera);
    this.row.append(camera.node);
  }

  #follow() {
    if (!this.node.isConnected) return;
    for (const camera of this.cameras.values()) camera.follow();
  }

  /** Look for pictures that came since. */
  refresh() {
    for (const camera of this.cameras.values()) camera.load();
  }
}
