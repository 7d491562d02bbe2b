// A table of any length whose DOM holds only the rows on screen: an ARIA grid that the keyboard moves in.

import { el, freshId } from "./dom.js";
import { empty, failed } from "./message.js";
import { RowPages } from "./row_pages.js";
import { TableHead } from "./table_head.js";
import { TableKeys } from "./table_keys.js";
import { TableRows } from "./table_rows.js";

const OVERSCAN_ROWS = 6;

/**
 * columns    [{key, title, render(row), width, sort, from, align, describe}]: render gives text or a node; width is
 *            a CSS grid track; sort the name that orders by it ("-name" descends first); a column is shown where
 *            the table is at least ``from`` px wide; align "end" for numbers; describe is the header's title
 * fetchPage  (cursor, {want, signal, order}) -> {rows, next, total?}; see RowPages
 * rowKey     (row) -> text that stays the row's when others come before it
 * onopen     (row, event): Enter or a click beside the links of the row
 * order, onorder     the order at first ("-rows"; null: the server's), and what is told of another one
 * onstate    ({total, loaded, isWhole, error}) after each fetch
 * onplace    (first) when the first row on screen is another
 * rowHeight  px, or a function of (the table's width in px, the rows) giving them
 * detail     (row) -> a node under the row's cells, or null; rowHeight makes room for it
 * whenEmpty  (node): fills the node that stands where rows would
 *
 * The node must give the table a height: a column of flex, or one that CSS gives it.
 */
export class VirtualTable {
  constructor(node, options) {
    this._options = { order: null, rowHeight: 36, label: "Rows", whenEmpty: nothing, ...options };
    this._head = new TableHead(options.columns, this._options.order, (order) => this.orderBy(order));
    this._rows = new TableRows({
      rowKey: options.rowKey,
      detail: options.detail,
      stem: freshId("table"),
      lost: () => this._grid.focus({ preventScroll: true }),
    });
    const named = { role: "grid", tabindex: "0", "aria-label": this._options.label, "aria-rowcount": "-1" };
    this._grid = el("div", { class: "table", ...named }, this._head.node, this._rows.node);
    this._note = el("div", { class: "table-note" });
    this._frame = el("div", { class: "table-frame" }, this._grid, this._note);
    this._keys = new TableKeys(this._grid, this._rows, this._handles());
    this._pages = this._newPages(options.fetchPage, this._options.order);
    this._replacement = null; // the rows of another question, while they are on the way
    this._asked = null; // and its fetchPage
    node.replaceChildren(this._frame);
    this._grid.addEventListener("scroll", () => this._scrolled(), { passive: true });
    new ResizeObserver(() => this._fit()).observe(this._grid);
    this._fit(); // draws, which fetches what is missing
  }

  /** The rows that are here, in order. */
  get rows() {
    return this._pages.rows;
  }

  /** How many rows there are, null while it is unknown. */
  get total() {
    return this._pages.isWhole ? this._pages.rows.length : this._pages.total;
  }

  /** The number of the first row on screen. */
  get first() {
    return this._rows.height === 0 ? 0 : Math.max(0, Math.floor(this._grid.scrollTop / this._rows.height));
  }

  /**
   * Fetch the rows up to those on screen again and put them in place at once; the first one on screen stays where
   * it is. Resolves to the error that it met, with the rows shown before still there, or to null. Nothing happens
   * while rows are on the way anyhow.
   */
  async refresh() {
    if (this._replacement !== null) return null;
    return this._replace(this._options.fetchPage, this._options.order, { isSame: true });
  }

  /** Show the rows of another question from the top, once its first page is here; resolves as refresh() does. */
  ask(fetchPage, order = this._options.order) {
    return this._replace(fetchPage, order, { isSame: false });
  }

  /** Sort by another order, null for the server's own; what it refuses is shown in the place of the rows. */
  async orderBy(order) {
    this._options.onorder?.(order);
    const error = await this.ask(this._asked ?? this._options.fetchPage, order);
    if (error !== null) this._say((note) => failed(note, error, () => this.orderBy(order)));
  }

  /** Forget all rows and begin again at the top. */
  reset() {
    this._replacement?.end();
    this._replacement = null;
    this._asked = null;
    this._pages.end();
    this._pages = this._newPages(this._options.fetchPage, this._options.order);
    this._keys.active = -1;
    this._grid.scrollTop = 0;
    this._rows.clear();
    this._fetch();
  }

  /** Draw every row again, as after a change of how times are written. */
  redraw() {
    this._rows.clear();
    this._draw();
  }

  /** Bring a row to the top of the screen, fetching up to it; used to come back to a place. */
  async reveal(index) {
    await this._fetch(index + this._rowsOnScreen);
    this._grid.scrollTop = index * this._rows.height;
    this._draw();
  }

  /** Take the keyboard. */
  focus() {
    this._grid.focus();
  }

  // -- fetching ------------------------------------------------------------------------------------

  _newPages(fetchPage, order) {
    const arrived = (pages) => pages === this._pages && this._arrived();
    return new RowPages((cursor, asked) => fetchPage(cursor, { ...asked, order }), arrived);
  }

  async _fetch(count = this.first + 2 * this._rowsOnScreen) {
    const pages = this._pages;
    this._grid.setAttribute("aria-busy", "true");
    await pages.reach(count);
    if (pages !== this._pages) return;
    this._markBusy();
    this._arrived();
  }

  async _replace(fetchPage, order, { isSame }) {
    this._replacement?.end();
    const fresh = this._newPages(fetchPage, order);
    this._replacement = fresh;
    this._asked = fetchPage;
    if (!isSame) this._markBusy(); // the same rows again are no news until they are here
    await fresh.reach(isSame ? this.first + this._rowsOnScreen : this._rowsOnScreen);
    if (fresh !== this._replacement) return null; // another question came meanwhile
    this._replacement = null;
    this._asked = null;
    if (fresh.error === null) this._put(fresh, fetchPage, order, isSame);
    this._markBusy();
    return fresh.error;
  }

  _put(fresh, fetchPage, order, isSame) {
    const anchor = isSame ? this._anchor() : null;
    const activeKey = isSame ? this._keyAt(this._keys.active) : null;
    Object.assign(this._options, { fetchPage, order });
    this._head.mark(order);
    this._pages.end();
    this._pages = fresh;
    this._keys.active = activeKey === null ? -1 : this._indexOf(activeKey);
    this._fit();
    this._layOut();
    if (!isSame) this._grid.scrollTop = 0;
    else if (anchor !== null) this._return(anchor);
    this._draw();
    this._tell();
  }

  _markBusy() {
    this._grid.setAttribute("aria-busy", String(this._pages.isFetching || this._replacement !== null));
  }

  _arrived() {
    this._fit();
    this._layOut();
    this._draw();
    this._tell();
  }

  _tell() {
    const { rows, isWhole, error } = this._pages;
    this._options.onstate?.({ total: this.total, loaded: rows.length, isWhole, error });
  }

  _retry() {
    this._pages.error = null;
    this._layOut();
    this._fetch();
  }

  // -- drawing -------------------------------------------------------------------------------------

  get _rowsOnScreen() {
    return Math.ceil(this._grid.clientHeight / this._rows.height) + OVERSCAN_ROWS;
  }

  _fit() {
    const { rowHeight, columns } = this._options;
    const width = this._grid.clientWidth;
    const height = typeof rowHeight === "function" ? rowHeight(width, this._pages.rows) : rowHeight;
    const visible = columns.filter(({ from = 0 }) => width >= from);
    const isSame = height === this._rows.height && visible.length === this._rows.columns.length;
    if (!isSame) this._rebuild(visible, height);
    this._draw();
  }

  _rebuild(visible, height) {
    const first = this.first;
    this._rows.clear();
    Object.assign(this._rows, { columns: visible, height });
    this._grid.style.setProperty("--tracks", visible.map(({ width }) => width ?? "minmax(0, 1fr)").join(" "));
    this._grid.style.setProperty("--row-height", `${height}px`);
    this._grid.setAttribute("aria-colcount", String(visible.length));
    this._head.show(visible);
    this._layOut();
    this._grid.scrollTop = first * height;
  }

  _layOut() {
    const { length, isWhole, error, rows } = this._pages;
    const isEmpty = isWhole && rows.length === 0;
    this._rows.node.style.height = `${length * this._rows.height}px`;
    this._grid.setAttribute("aria-rowcount", isWhole || this.total !== null ? String(length + 1) : "-1");
    this._frame.toggleAttribute("data-bare", isEmpty || (error !== null && rows.length === 0));
    this._say((note) => {
      if (error !== null) failed(note, error, () => this._retry());
      else if (isEmpty) this._options.whenEmpty(note);
    });
  }

  /** Say something under the header; what is said already stays, and the focus in it. */
  _say(fill) {
    const note = el("div", { class: "table-note" });
    fill(note);
    if (note.isEqualNode(this._note)) return;
    this._note.replaceWith(note);
    this._note = note;
  }

  _draw() {
    const { rows, length, isWhole, isFetching, error } = this._pages;
    const last = Math.min(length, this.first + this._rowsOnScreen);
    this._rows.draw(rows, Math.max(0, this.first - OVERSCAN_ROWS), last);
    this._keys.mark();
    const isMissing = !isWhole && rows.length < this.first + this._rowsOnScreen;
    if (isMissing && !isFetching && error === null) this._fetch();
  }

  _scrolled() {
    this._draw();
    this._options.onplace?.(this.first);
  }

  // -- what the keyboard asks of the table ---------------------------------------------------------

  _handles() {
    return {
      length: () => this._pages.length,
      row: (index) => this._pages.rows[index],
      pageRows: () => Math.max(1, Math.floor(this._grid.clientHeight / this._rows.height) - 1),
      show: (index) => this._show(index),
      open: (row, event) => this._options.onopen?.(row, event),
    };
  }

  _show(index) {
    const top = index * this._rows.height;
    const room = this._grid.clientHeight - this._head.node.offsetHeight - this._rows.height;
    if (top < this._grid.scrollTop) this._grid.scrollTop = top;
    else if (top > this._grid.scrollTop + room) this._grid.scrollTop = top - room;
    this._draw();
  }

  // -- staying in place when rows come before those on screen --------------------------------------

  _keyAt(index) {
    const row = this._pages.rows[index];
    return row === undefined ? null : this._options.rowKey(row);
  }

  _indexOf(key) {
    return this._pages.rows.findIndex((row) => this._options.rowKey(row) === key);
  }

  _anchor() {
    if (this._grid.scrollTop === 0) return null; // at the top new rows are to be seen
    const first = this.first;
    return { key: this._keyAt(first), rest: this._grid.scrollTop - first * this._rows.height };
  }

  _return({ key, rest }) {
    const index = this._indexOf(key);
    if (index >= 0) this._grid.scrollTop = index * this._rows.height + rest;
  }
}

function nothing(node) {
  empty(node, "Nothing here.");
}
