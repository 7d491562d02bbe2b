// The topics and their numeric fields as a tree of boxes to tick, with a filter.

import { el, freshId, replace } from "../core/dom.js";
import { announce } from "../core/message.js";
import { linkOf } from "./view.js";

const MOST_FIELDS = 16;
const MOST_SHOWN = 400;

/** Fills a node; ticks follow the view's fields and change them. */
export class FieldTree {
  constructor(node, view, description) {
    this.view = view;
    this.description = description;
    this.typed = "";
    this.plotted = new Map(); // all that was, so that what is unticked can be ticked again
    this.open = new Set(view.fields.map(({ topic }) => topic));
    const id = freshId("filter");
    const input = el("input", { type: "search", id, placeholder: "name or unit", autocomplete: "off" });
    input.addEventListener("input", () => {
      this.typed = input.value.trim();
      this.#draw();
    });
    this.list = el("div", { class: "field-tree-topics" });
    this.note = el("p", { class: "hint", role: "status" });
    const label = el("label", { for: id }, "Find a field");
    replace(node, el("div", { class: "field" }, label, input), this.list, this.note);
    view.on("fields", () => this.#draw());
    this.#draw();
  }

  get #words() {
    return this.typed.toLowerCase().split(/\s+/);
  }

  /** Take over a description with new topics. */
  describe(description) {
    const isSame = description.topics.length === this.description.topics.length;
    this.description = description;
    if (!isSame) this.#draw();
  }

  #draw() {
    let shown = 0;
    for (const field of this.view.fields) this.plotted.set(linkOf(field), field);
    const topics = this.description.ownTopics.filter((topic) => topic.numbers.length > 0);
    const nodes = topics.map((topic) => {
      const numbers = [...topic.numbers, ...this.#plottedElements(topic)];
      const fields = numbers.filter((field) => this.#matches(topic, field));
      const named = topic.number(this.typed);
      if (named !== null && !fields.some(({ name }) => name === named.name)) fields.push(named);
      const some = fields.slice(0, Math.max(0, MOST_SHOWN - shown));
      shown += some.length;
      return some.length ? this.#topic(topic, some) : null;
    });
    const focused = document.activeElement?.dataset?.field;
    replace(this.list, nodes);
    if (focused && this.list !== document.activeElement) {
      this.list.querySelector(`[data-field="${CSS.escape(focused)}"]`)?.focus();
    }
    replace(this.note, topics.length === 0 ? "No topic has numbers to plot." : this.#left(shown));
  }

  #left(shown) {
    if (shown === 0) return "No field matches; shorten what you typed.";
    return shown >= MOST_SHOWN ? "Not all fields are listed; type a part of the name." : null;
  }

  #matches(topic, field) {
    const words = `${topic.name}:${field.name} ${field.unit ?? ""} ${field.description ?? ""}`.toLowerCase();
    return this.#words.every((word) => words.includes(word));
  }

  // Elements far behind in their lists are no numbers of the topic until somebody asks for them.
  #plottedElements(topic) {
    const ofTopic = [...this.plotted.values()].filter((one) => one.topic === topic.name);
    const found = ofTopic.map(({ field }) => topic.number(field)).filter((field) => field?.isElement);
    return found.filter(({ name }) => !topic.numbers.some((field) => field.name === name));
  }

  #topic(topic, fields) {
    const ticked = fields.filter((field) => this.#isTicked(topic, field)).length;
    const title = el("summary", {}, topic.name, ticked ? el("span", { class: "pill" }, ticked) : null);
    const isOpen = this.typed !== "" || this.open.has(topic.name);
    const left = topic.leftOut.map((name) => el("p", { class: "hint" }, `More elements by name: type ${name} above.`));
    const group = el("details", { open: isOpen }, title, fields.map((field) => this.#field(topic, field)), left);
    group.addEventListener("toggle", () => {
      if (this.typed !== "") return;
      if (group.open) this.open.add(topic.name);
      else this.open.delete(topic.name);
    });
    return group;
  }

  #isTicked(topic, field) {
    return this.view.fields.some((one) => one.topic === topic.name && one.field === field.name);
  }

  #field(topic, field) {
    const plotted = { topic: topic.name, field: field.name };
    const box = el("input", { type: "checkbox", "data-field": linkOf(plotted) });
    box.checked = this.#isTicked(topic, field);
    box.addEventListener("change", () => this.#tick(plotted, box));
    const unit = field.unit ? el("span", { class: "muted" }, ` [${field.unit}]`) : null;
    return el("label", { class: "field-tick", title: field.description || null }, box, ` ${field.name}`, unit);
  }

  #tick(plotted, box) {
    const others = this.view.fields.filter((one) => linkOf(one) !== linkOf(plotted));
    if (box.checked && others.length >= MOST_FIELDS) {
      box.checked = false;
      replace(this.note, `${MOST_FIELDS} fields are plotted; take one away first.`);
      announce(this.note.textContent);
      return;
    }
    this.view.setFields(box.checked ? [...others, plotted] : others);
  }
}
