// One session: what it asked for, what was decided, and the reports of its episodes as they come in.

import { get, segment } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count, time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { failed } from "../core/message.js";
import { sequenceLink, stateBadge } from "../features/words.js";
import { requestFacts, said, sessionName } from "./request_facts.js";

const PAGE = 500;
const HERE = {
  same: "here, the same content",
  other: "here, with other content",
  unknown: "here",
  no: "not in this store",
};
const LEVELS = { same: "ok", other: "bad" };

/** Shows one session at a time in a node. */
export class SessionView {
  constructor(node, close) {
    this._node = node;
    this._close = close;
    this._id = null;
    this._reports = [];
  }

  /** Show a session, null for none, and ask for what is new about it. */
  async show(id) {
    if (id !== this._id) {
      this._id = id;
      this._reports = [];
      this._text = null;
    }
    this._node.hidden = id === null;
    if (id === null) return;
    try {
      await this._ask(id);
    } catch (error) {
      if (id === this._id) failed(this._node, error);
    }
  }

  async _ask(id) {
    const task = await get(`/hub/tasks/${segment(id)}`);
    const reports = [...this._reports];
    let next = reports.at(-1)?.number ?? 0;
    while (next !== null) {
      const page = await get(`/hub/tasks/${segment(id)}/episodes`, { after: next, limit: PAGE });
      reports.push(...page.episodes);
      next = page.next;
    }
    if (id !== this._id) return;
    this._reports = reports;
    const text = stringify([task, reports.length]);
    if (text === this._text) return;
    this._text = text;
    this._draw(task);
  }

  _draw(task) {
    const summary = Object.entries(task.ending?.summary ?? {});
    const ends = summary.map(([key, value]) => [`At the end: ${key}`, said(value)]);
    replace(
      this._node,
      el(
        "div",
        { class: "card stack", "data-session": task.id },
        el(
          "div",
          { class: "toolbar" },
          el("h2", {}, sessionName(task)),
          stateBadge(task.status),
          el("button", { type: "button", class: "button push", onclick: this._close }, "Close"),
        ),
        requestFacts(task, [
          ["Asked by", task.owner],
          ["Asked at", el("span", { title: utc(task.created_ns) }, time(task.created_ns))],
          ...(task.reason === null ? [] : [["Reason", task.reason]]),
          ...ends,
        ]),
        el("h3", {}, `Episodes: ${count(this._reports.length)}`),
        this._reports.length === 0
          ? el("p", { class: "muted" }, "No episode was reported yet.")
          : table(this._reports),
      ),
    );
  }
}

function table(reports) {
  const titles = ["Episode", "Outcome", "Success", "Frames", "Reported", "In this store"];
  return el(
    "div",
    { class: "table-scroll", role: "region", "aria-label": "Episodes", tabindex: "0" },
    el(
      "table",
      { class: "plain-table" },
      el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title)))),
      el("tbody", {}, reports.map(row)),
    ),
  );
}

function row({ number, received_ns: receivedNs, report, here }) {
  const sequence = typeof report.sequence === "string" ? report.sequence : `report ${number}`;
  return el(
    "tr",
    { "data-episode": sequence },
    el("td", {}, here === "no" ? sequence : sequenceLink(sequence)),
    el("td", {}, said(report.outcome ?? "–")),
    el("td", {}, { true: "yes", false: "no" }[String(report.success)] ?? "–"),
    el("td", {}, said(report.frames ?? "–")),
    el("td", { class: "when", title: utc(receivedNs) }, time(receivedNs)),
    el("td", {}, el("span", { class: "badge", "data-level": LEVELS[here] ?? null }, HERE[here])),
  );
}
