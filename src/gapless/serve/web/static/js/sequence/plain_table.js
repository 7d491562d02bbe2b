// A short table: heads and rows of text or nodes.

import { el } from "../core/dom.js";

/** Return a table; `columns` are `[{title, render(row), align}]`, `label` its name. */
export function plainTable(label, columns, rows) {
  const head = el("tr", {}, columns.map(({ title, align }) => el("th", { scope: "col", class: align ?? null }, title)));
  const body = rows.map((row) =>
    el("tr", {}, columns.map(({ render, align }) => el("td", { class: align ?? null }, render(row)))),
  );
  const table = el("table", { class: "plain-table" }, el("thead", {}, head), el("tbody", {}, body));
  return el("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}
