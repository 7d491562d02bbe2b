// The rows of a table that are on screen, each at its own place in a body as tall as all of them.

import { el } from "./dom.js";
import { stringify } from "./json.js";

/** Draws rows by number; a row drawn before whose data are the same keeps its nodes, and with them the focus. */
export class TableRows {
  constructor({ rowKey, detail = () => null, stem, lost }) {
    this.node = el("div", { class: "table-body", role: "rowgroup" });
    this.columns = [];
    this.height = 0;
    this._rowKey = rowKey;
    this._detail = detail;
    this._stem = stem;
    this._lost = lost; // called before a row with the focus in it goes
    this._drawn = new Map(); // number -> {node, row, text}
  }

  /** Draw the rows from ``first`` to before ``last``, and no others; one that is not fetched yet is drawn empty. */
  draw(rows, first, last) {
    for (const [index, { node }] of this._drawn) {
      if (index < first || index >= last) this._drop(index, node);
    }
    for (let index = first; index < last; index += 1) this._drawRow(index, rows[index]);
  }

  /** Take all rows away. */
  clear() {
    for (const [index, { node }] of this._drawn) this._drop(index, node);
  }

  /** The node of a row that is drawn, else undefined. */
  at(index) {
    return this._drawn.get(index)?.node;
  }

  /** Mark one row as the active one. */
  mark(active) {
    for (const [index, { node }] of this._drawn) node.toggleAttribute("data-active", index === active);
  }

  /** The number of the row that an element is in, -1 for none. */
  indexOf(element) {
    return Number(element.closest("[data-index]")?.dataset.index ?? -1);
  }

  /** The links and buttons of a row, in order. */
  controls(index) {
    return [...(this.at(index)?.querySelectorAll("a, button") ?? [])];
  }

  _drawRow(index, row) {
    const old = this._drawn.get(index);
    if (old !== undefined && old.row === row) return;
    const text = row === undefined ? null : this._rowKey(row) + stringify(row);
    if (old !== undefined && old.text === text) {
      old.row = row;
      return;
    }
    const node = this._make(index, row);
    if (old === undefined) {
      this.node.append(node);
    } else {
      if (old.node.contains(document.activeElement)) this._lost();
      old.node.replaceWith(node);
    }
    this._drawn.set(index, { node, row, text });
  }

  _make(index, row) {
    const node = el("div", {
      class: row === undefined ? "table-row waiting" : "table-row",
      role: "row",
      id: `${this._stem}-${index}`,
      "aria-rowindex": index + 2, // the header is the first
      "data-index": index,
    });
    node.style.transform = `translateY(${index * this.height}px)`;
    node.append(...this.columns.map((column) => this._cell(column, row)));
    const detail = row === undefined ? null : this._detail(row);
    if (detail !== null) {
      node.append(el("div", { role: "gridcell", class: "cell detail", "aria-colspan": this.columns.length }, detail));
    }
    for (const control of node.querySelectorAll("a, button")) control.tabIndex = -1; // the arrows reach them
    return node;
  }

  _cell(column, row) {
    const content = row === undefined ? null : column.render(row);
    return el("div", { role: "gridcell", class: `cell ${column.align ?? ""}`, "data-key": column.key }, content);
  }

  _drop(index, node) {
    if (node.contains(document.activeElement)) this._lost();
    node.remove();
    this._drawn.delete(index);
  }
}
