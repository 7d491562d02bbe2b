// The sessions that were decided, the newest first, page by page.

import { get } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count, time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { empty, failed } from "../core/message.js";
import { stateBadge } from "../features/words.js";
import { sessionName } from "./request_facts.js";

const PAGE = 50;

/** Shows them in a node; ``open(id)`` is called for one that was pressed. */
export class History {
  constructor(node, open) {
    this._node = node;
    this._open = open;
    this._older = [];
    this._next = null;
    this._newest = [];
  }

  /** Show the newest page as the API tells it; older pages that were asked for stay below. */
  show({ history, next_before: next }, chosen) {
    const isReaching = this._older.length > 0;
    this._newest = history;
    if (!isReaching) this._next = next;
    this._chosen = chosen;
    this._draw();
  }

  _draw() {
    const known = new Set(this._newest.map(({ id }) => id));
    const tasks = [...this._newest, ...this._older.filter(({ id }) => !known.has(id))];
    const text = stringify([tasks, this._next, this._chosen]);
    if (text === this._text) return;
    this._text = text;
    if (tasks.length === 0) {
      empty(this._node, "No session was decided yet.");
      return;
    }
    const focused = document.activeElement?.dataset?.open;
    const more = el("button", { type: "button", class: "button", onclick: () => this._more() }, "Show more");
    replace(
      this._node,
      el(
        "div",
        { class: "table-scroll", role: "region", "aria-label": "Decided sessions", tabindex: "0" },
        el("table", { class: "plain-table" }, head(), el("tbody", {}, tasks.map((task) => this._row(task)))),
      ),
      this._next !== null && el("div", { class: "toolbar" }, more),
    );
    if (focused) this._node.querySelector(`[data-open="${CSS.escape(focused)}"]`)?.focus();
  }

  _row(task) {
    const isChosen = task.id === this._chosen;
    const button = el(
      "button",
      {
        type: "button",
        class: "as-link",
        "data-open": task.id,
        "aria-pressed": String(isChosen),
        onclick: () => this._open(task.id),
      },
      sessionName(task),
    );
    return el(
      "tr",
      { "data-task": task.id },
      el("td", {}, button),
      el("td", {}, stateBadge(task.status)),
      el("td", {}, task.owner),
      el("td", {}, count(task.episodes)),
      el("td", { class: "when", title: utc(task.created_ns) }, time(task.created_ns)),
      el("td", {}, task.reason ?? ""),
    );
  }

  async _more() {
    try {
      const { history, next_before: next } = await get("/hub/tasks", { before: this._next, limit: PAGE });
      this._older.push(...history);
      this._next = next;
      this._draw();
    } catch (error) {
      failed(this._node, error, () => this._more());
      this._text = null;
    }
  }
}

function head() {
  const titles = ["Session", "Status", "Asked by", "Episodes", "Asked at", "Reason"];
  return el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col" }, title))));
}
