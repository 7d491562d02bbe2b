// The steps of a pipeline as a graph: each step is a button that chooses it, each recorded topic a plain node.

import { el } from "../core/dom.js";
import { GraphView } from "./graph_view.js";
import { countsText, stateBadge, stepWords } from "./words.js";

/** Draws the graph; ``choose(step)`` is called with the name of a step that was pressed. */
export class StepGraph {
  constructor(node, choose) {
    this._view = new GraphView(node, "Steps of the pipeline");
    this._choose = choose;
    this._buttons = new Map();
    this._shape = null;
  }

  /** Show steps as the API tells them, one of them chosen. */
  show(steps, chosen) {
    const shape = JSON.stringify(steps.map(({ name, reads, topics }) => [name, reads, topics]));
    if (shape !== this._shape) this._build(steps);
    this._shape = shape;
    for (const step of steps) {
      const button = this._buttons.get(step.name);
      button.replaceChildren(...content(step));
      button.dataset.state = step.state;
      button.setAttribute("aria-pressed", String(step.name === chosen));
    }
  }

  _build(steps) {
    const topics = [...new Set(steps.flatMap((step) => step.topics))];
    const topicNodes = topics.map((topic) => ({ id: `topic ${topic}`, node: topicNode(topic) }));
    this._buttons = new Map(steps.map(({ name }) => [name, this._button(name)]));
    const stepNodes = steps.map(({ name }) => ({ id: `step ${name}`, node: this._buttons.get(name) }));
    const edges = steps.flatMap(({ name, reads, topics: own }) => [
      ...own.map((topic) => [`topic ${topic}`, `step ${name}`]),
      ...reads.map((other) => [`step ${other}`, `step ${name}`]),
    ]);
    this._view.show([...topicNodes, ...stepNodes], edges);
  }

  _button(name) {
    return el("button", { type: "button", class: "step", "data-step": name, onclick: () => this._choose(name) });
  }
}

function content(step) {
  const told = step.kind === "feature" ? countsText(step.counts) : step.kind;
  return [
    el(
      "span",
      { class: "step-head" },
      el("span", { class: "step-name" }, step.name),
      stateBadge(step.state, stepWords(step.state)),
    ),
    el("span", { class: "step-words muted" }, told || "no entries"),
  ];
}

function topicNode(topic) {
  return el(
    "div",
    { class: "topic" },
    el("span", { class: "step-name" }, topic),
    el("span", { class: "step-words muted" }, "recorded topic"),
  );
}
