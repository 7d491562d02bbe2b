// The pipelines that the operator named: the graph of one of them, and what is the matter with a step.

import { get, segment } from "../core/api.js";
import { el, freshId, replace } from "../core/dom.js";
import { time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { announce, busy, empty, failed, failure } from "../core/message.js";
import { onReturn, read, write } from "../core/place.js";
import { repeating } from "./repeating.js";
import { StepGraph } from "./step_graph.js";
import { StepPanel } from "./step_panel.js";

const EVERY_MS = 3000;

/** Fills a panel; ``pipelines`` are those of the server. The address holds the pipeline and the step. */
export class PipelinesTab {
  constructor(panel, pipelines) {
    this._pipelines = pipelines;
    this._shown = null;
    this._asking = null;
    if (pipelines.length === 0) {
      empty(
        panel,
        "The server shows no pipeline.",
        el("p", {}, "Start it with ", el("code", {}, "gapless serve STORE --pipeline FILE"), "."),
      );
      return;
    }
    this._build(panel);
    onReturn(() => this._restore());
  }

  /** Begin to follow the pipeline of the address. */
  show() {
    if (this._pipelines.length === 0) return;
    this._restore();
    this._asking = repeating(() => this._ask(), EVERY_MS, (error) => this._refuse(error));
  }

  /** Stop asking. */
  hide() {
    this._asking?.stop();
    this._asking = null;
  }

  _build(panel) {
    const id = freshId("pipeline");
    const options = this._pipelines.map(({ name, file }) => el("option", { value: name, title: file }, name));
    this._choice = el("select", { id, onchange: () => this._choose(this._choice.value) }, options);
    this._told = el("span", { class: "muted", role: "status" });
    this._again = el("button", { type: "button", class: "button", onclick: () => this._lookAgain() }, "Look again");
    this._view = el("div", { class: "stack" });
    this._graphNode = el("div");
    this._graph = new StepGraph(this._graphNode, (step) => this._select(step));
    this._panelNode = el("section", { class: "card stack", "aria-label": "Step" });
    this._panel = new StepPanel(this._panelNode);
    replace(
      panel,
      el(
        "div",
        { class: "stack" },
        el(
          "div",
          { class: "toolbar" },
          el("div", { class: "field row" }, el("label", { for: id }, "Pipeline"), this._choice),
          this._told,
          el("span", { class: "push" }, this._again),
        ),
        this._view,
      ),
    );
    busy(this._view, "Looking at the pipeline…");
  }

  _restore() {
    const wanted = read().get("pipeline");
    const known = this._pipelines.some(({ name }) => name === wanted);
    const name = known ? wanted : this._pipelines[0].name;
    const isOther = name !== this._choice.value || this._name === undefined;
    this._choice.value = name;
    this._name = name;
    if (isOther) this._forget();
    else this._draw();
  }

  _choose(name) {
    write({ pipeline: name, step: null }, { push: true });
    this._restore();
    this._asking?.now();
  }

  _forget() {
    this._shown = null;
    this._text = null;
    busy(this._view, "Looking at the pipeline…");
  }

  async _lookAgain() {
    replace(this._told, "Looking again…");
    try {
      await this._ask({ fresh: true });
      announce("The pipeline was looked at again.");
    } catch (error) {
      this._refuse(error);
    }
  }

  async _ask(params = {}) {
    const name = this._name;
    const status = await get(`/pipelines/${segment(name)}/status`, params);
    if (name !== this._name) return;
    this._tell(status);
    const text = stringify([status.steps, status.error]);
    if (text === this._text) return;
    this._text = text;
    this._shown = status;
    this._draw();
  }

  _tell({ looked_ns: lookedNs, is_current: isCurrent, is_looking: isLooking }) {
    if (lookedNs === null) return;
    const words = isLooking ? "something changed, looking again…" : isCurrent ? "nothing changed since" : "";
    replace(
      this._told,
      el("span", { title: utc(lookedNs) }, `looked at ${time(lookedNs)}`),
      words === "" ? "" : `, ${words}`,
    );
  }

  _draw() {
    if (this._shown === null) return;
    const { steps, error } = this._shown;
    if (error !== null) {
      replace(this._view, failure(error));
      return;
    }
    if (steps === null) {
      busy(this._view, "Looking at the pipeline…");
      return;
    }
    if (steps.length === 0) {
      empty(this._view, "The pipeline has no steps.");
      return;
    }
    if (!this._view.contains(this._graphNode)) {
      replace(this._view, this._graphNode, el("p", { class: "hint" }, scopeOf(this._shown)), this._panelNode);
    }
    const chosen = steps.find(({ name }) => name === read().get("step")) ?? troubled(steps);
    this._graph.show(steps, chosen.name);
    this._panel.show(this._shown, chosen);
  }

  _select(step) {
    write({ step }, { push: true });
    this._draw();
    this._panelNode.scrollIntoView({ block: "nearest" });
  }

  _refuse(error) {
    if (this._shown === null) failed(this._view, error, () => this._asking?.now());
    else replace(this._told, `${error.message}; shown is what was known before`);
  }
}

function scopeOf({ topic, where }) {
  const told = `Each sequence with the topic ${topic} is an entry`;
  return where === null ? `${told}.` : `${told} where ${where}.`;
}

/** Return the first step with which something is the matter, else the first one. */
function troubled(steps) {
  return steps.find(({ state }) => state !== "ok") ?? steps[0];
}
