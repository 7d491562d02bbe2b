// The header of a table: one cell for each column on screen; a column that sorts is a button.

import { el } from "./dom.js";

/** Orders are names of the server, "-name" descending; null is the order that the server gives of itself. */
export class TableHead {
  constructor(columns, order, choose) {
    this._columns = columns;
    this._order = order;
    this._choose = choose;
    this._row = el("div", { class: "table-row", role: "row", "aria-rowindex": "1" });
    this.node = el("div", { class: "table-head", role: "rowgroup" }, this._row);
  }

  /** Show these columns. */
  show(columns) {
    this._columns = columns;
    this._row.replaceChildren(...columns.map((column) => this._cell(column)));
  }

  /** Show which order the rows are in. */
  mark(order) {
    this._order = order;
    for (const [at, cell] of [...this._row.children].entries()) this._markCell(cell, this._columns[at]);
  }

  _cell(column) {
    const content =
      column.sort === undefined
        ? column.title
        : el("button", { type: "button", class: "sort", onclick: () => this._turn(column) }, column.title);
    const cell = el(
      "div",
      { role: "columnheader", class: `cell ${column.align ?? ""}`, title: column.describe ?? null },
      content,
    );
    this._markCell(cell, column);
    return cell;
  }

  _markCell(cell, column) {
    if (column.sort === undefined) return;
    const name = plain(column.sort);
    const isSorted = this._order !== null && plain(this._order) === name;
    const way = isSorted ? (this._order.startsWith("-") ? "descending" : "ascending") : "none";
    cell.setAttribute("aria-sort", way);
  }

  /** The first turn sorts as the column says, the second the other way round, the third not at all. */
  _turn({ sort }) {
    const other = sort.startsWith("-") ? plain(sort) : `-${sort}`;
    const next = this._order === sort ? other : this._order === other ? null : sort;
    this._choose(next);
    this.mark(next);
  }
}

function plain(order) {
  return order.replace(/^-/, "");
}
