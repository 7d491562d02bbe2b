// One step of a pipeline: how its entries stand, why those that are not done are not, and what computes them.

import { get, segment } from "../core/api.js";
import { el, freshId, replace } from "../core/dom.js";
import { count } from "../core/format.js";
import { pagedTable } from "./paged_table.js";
import { countsText, runPlace, sequenceLink, stateBadge, stepWords } from "./words.js";

const STATUSES = ["failed", "stale", "pending", "running", "ok", "empty"];

/** Shows a step in a node; what is open in it stays open while the step is the same. */
export class StepPanel {
  constructor(node) {
    this._node = node;
    this._head = el("div", { class: "stack" });
    this._entries = el("div", { class: "stack" });
    this._step = null;
    this._status = null;
    this._table = null;
    node.append(this._head, this._entries);
  }

  /** Show a step of a pipeline as the API tells them. */
  show(pipeline, step) {
    replace(this._head, head(step), advice(pipeline, step), reasons(step));
    const isSame = this._step?.name === step.name && this._pipeline === pipeline.name;
    this._step = step;
    this._pipeline = pipeline.name;
    if (step.entries === 0) {
      replace(this._entries);
      this._table = null;
    } else if (isSame && this._table !== null) {
      this._table.reload();
    } else {
      this._build();
    }
  }

  _build() {
    const id = freshId("entries");
    const options = STATUSES.map((status) => el("option", { value: status }, status));
    const reload = () => this._table.reload();
    const choice = el("select", { id, onchange: reload }, el("option", { value: "" }, "all"), options);
    const rows = el("div");
    replace(
      this._entries,
      el(
        "div",
        { class: "toolbar" },
        el("h3", {}, "Entries"),
        el("div", { class: "field row push" }, el("label", { for: id }, "Status"), choice),
      ),
      rows,
    );
    this._table = pagedTable(rows, {
      label: `Entries of ${this._step.name}`,
      columns: ENTRY_COLUMNS,
      rowName: ({ sequence }) => sequence,
      whenEmpty: ["No entry stands so.", "Choose another status above."],
      fetchPage: (cursor) => this._fetch(cursor, choice.value),
    });
  }

  async _fetch(after, status) {
    const path = `/pipelines/${segment(this._pipeline)}/steps/${segment(this._step.name)}/entries`;
    const { entries, next, total } = await get(path, { after: after ?? 0, status });
    return { rows: entries, next, total };
  }
}

const ENTRY_COLUMNS = [
  { title: "Sequence", render: ({ sequence }) => sequenceLink(sequence) },
  { title: "Group", render: ({ group }) => group ?? "–" },
  { title: "Status", render: ({ status }) => stateBadge(status, status) },
  { title: "Why", render: ({ words, status }) => words.replace(new RegExp(`^${status}: `), "") },
];

function head(step) {
  const isThere = step.kind === "model" ? ["ok", "failed"].includes(step.state) : done(step) > 0;
  const run = step.run_id && `${step.feature} ${step.run_id}`;
  const place = runPlace(step.feature, step.run_id, step.kind === "model");
  return [
    el("div", { class: "toolbar" }, el("h2", {}, step.name), stateBadge(step.state, stepWords(step.state))),
    el(
      "dl",
      { class: "facts" },
      el("dt", {}, step.kind === "model" ? "Model" : "Run"),
      el("dd", {}, isThere ? el("a", { href: place }, run) : run || step.kind),
      el("dt", {}, "Reads"),
      el("dd", {}, [...step.topics, ...step.reads].join(", ") || "nothing"),
      step.entries > 0 && [el("dt", {}, "Entries"), el("dd", {}, `${count(step.entries)}: ${countsText(step.counts)}`)],
      step.why && [el("dt", {}, "Why"), el("dd", { class: "step-why" }, step.why)],
    ),
  ];
}

function done({ counts }) {
  return counts.ok + counts.empty + counts.failed + counts.stale;
}

function advice({ command }, step) {
  if (step.state === "ok" || step.state === "none") return null;
  return el("p", { class: "hint" }, "This computes what is missing: ", el("code", {}, command));
}

function reasons(step) {
  if (step.reasons.length === 0) return null;
  const heads = ["Status", "Why", "Entries", "Such as"].map((title) => el("th", { scope: "col" }, title));
  return el(
    "div",
    { class: "table-scroll", role: "region", "aria-label": "Reasons", tabindex: "0" },
    el(
      "table",
      { class: "plain-table reasons" },
      el("thead", {}, el("tr", {}, heads)),
      el("tbody", {}, step.reasons.map(reason)),
    ),
  );
}

function reason({ status, why, count: number, sequences }) {
  const links = sequences.flatMap((name, at) => (at === 0 ? [sequenceLink(name)] : [", ", sequenceLink(name)]));
  return el(
    "tr",
    { "data-status": status },
    el("td", {}, stateBadge(status)),
    el("td", {}, why),
    el("td", {}, count(number)),
    el("td", {}, links, number > sequences.length && " …"),
  );
}
