// All runs of features, the newest first.

import { get } from "../core/api.js";
import { el, freshId, replace } from "../core/dom.js";
import { bytes, count, time } from "../core/format.js";
import { onReturn, read, write } from "../core/place.js";
import { pagedTable } from "./paged_table.js";
import { countsText, nsOf, runPlace, stateBadge } from "./words.js";

const TYPING_MS = 300;

/** Fills a panel; the address holds what is searched for. */
export class RunsTab {
  constructor(panel) {
    const id = freshId("find");
    const typed = () => this._typed();
    this._input = el("input", { id, type: "search", maxlength: "200", autocomplete: "off", oninput: typed });
    const rows = el("div");
    replace(
      panel,
      el(
        "div",
        { class: "stack" },
        el("div", { class: "field narrow" }, el("label", { for: id }, "Name holds"), this._input),
        rows,
      ),
    );
    this._input.value = read().get("find") ?? "";
    this._table = pagedTable(rows, {
      label: "Feature runs",
      columns: COLUMNS,
      rowName: ({ feature, run_id: runId }) => `${feature}@${runId}`,
      fetchPage: (cursor) => this._fetch(cursor),
      whenEmpty: [
        "No feature run is here.",
        el("p", {}, "Search for less, or make some: ", el("code", {}, "gapless features run PIPELINE"), "."),
      ],
    });
    onReturn(() => this._restore());
  }

  /** Ask again: there may be new runs. */
  renew() {
    this._table.reload();
  }

  _restore() {
    const wanted = read().get("find") ?? "";
    if (wanted === this._input.value) return;
    this._input.value = wanted;
    this._table.reload();
  }

  _typed() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => {
      write({ find: this._input.value });
      this._table.reload();
    }, TYPING_MS);
  }

  async _fetch(cursor) {
    const { runs, next_cursor: next, total } = await get("/features/runs", { cursor, text: this._input.value });
    return { rows: runs, next, total };
  }
}

const COLUMNS = [
  { title: "Feature", render: ({ feature, run_id: runId }) => el("a", { href: runPlace(feature, runId) }, feature) },
  { title: "Run", render: ({ run_id: runId }) => el("span", { class: "mono" }, runId) },
  { title: "State", render: ({ state }) => stateBadge(state) },
  { title: "Entries", render: ({ ok, empty, failed }) => countsText({ ok, empty, failed }) || "none" },
  { title: "Rows", align: "end", render: ({ rows }) => count(rows) },
  { title: "Size", align: "end", render: ({ bytes: size }) => bytes(size) },
  { title: "Started", align: "when", render: ({ started_at: startedAt }) => time(nsOf(startedAt)) },
];
