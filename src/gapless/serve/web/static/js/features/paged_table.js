// A plain table that grows page by page: for lists that a person reads from the top.

import { el, replace } from "../core/dom.js";
import { busy, empty, failed } from "../core/message.js";

/**
 * Fill a node with a table of ``columns`` [{title, render(row), align}] and the rows that ``fetchPage(cursor)``
 * gives as {rows, next, total?}. ``whenEmpty`` is [title, hint]. Returns {reload()}, which keeps what is shown
 * until the new rows are here.
 */
export function pagedTable(node, { label, columns, fetchPage, whenEmpty, rowName = null }) {
  const body = el("tbody");
  const count = el("span", { class: "muted" });
  const more = el("button", { type: "button", class: "button", onclick: () => load(false) }, "Show more");
  const foot = el("div", { class: "toolbar" }, more, count);
  const table = el(
    "div",
    { class: "table-scroll", role: "region", "aria-label": label, tabindex: "0" },
    el(
      "table",
      { class: "plain-table" },
      el("thead", {}, el("tr", {}, columns.map(({ title, align }) => el("th", { scope: "col", class: align }, title)))),
      body,
    ),
  );
  let cursor = null;
  let turn = 0;

  const load = async (isFirst) => {
    turn += 1;
    const mine = turn;
    more.disabled = true;
    try {
      const page = await fetchPage(isFirst ? null : cursor);
      if (mine !== turn) return;
      show(page, isFirst);
    } catch (error) {
      if (mine === turn) failed(node, error, () => load(true));
    } finally {
      more.disabled = false;
    }
  };
  const show = ({ rows, next, total }, isFirst) => {
    if (isFirst) body.replaceChildren();
    body.append(...rows.map((row) => rowNode(row, columns, rowName)));
    cursor = next ?? null;
    if (body.rows.length === 0) {
      empty(node, ...whenEmpty);
      return;
    }
    more.hidden = cursor === null;
    const told = total ?? (cursor === null ? body.rows.length : null);
    replace(count, told === null ? `${body.rows.length} shown` : `${body.rows.length} of ${told}`);
    if (!node.contains(table)) replace(node, table, foot);
  };
  busy(node);
  load(true);
  return { reload: () => load(true) };
}

function rowNode(row, columns, rowName) {
  const name = rowName === null ? null : rowName(row);
  return el(
    "tr",
    { "data-name": name },
    columns.map(({ render, align }) => el("td", { class: align }, render(row))),
  );
}
