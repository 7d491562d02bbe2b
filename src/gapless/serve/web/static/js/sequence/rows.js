// The tab of rows: a topic's values as they are stored, page by page from the cursor on.

import * as api from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { stringify } from "../core/json.js";
import { empty, toast } from "../core/message.js";
import * as place from "../core/place.js";
import { VirtualTable } from "../core/table.js";
import { copyText } from "./clipboard.js";
import { exactTime, numberText } from "./exact.js";
import { tick } from "./plot_tools.js";
import { rowsWords } from "./words.js";

const PAGE = 500;
const WIDE = 12; // columns shown when nobody chose
const TIME = "timestamp_ns";

/** Fills a panel; choosing a row moves the cursor to it. */
export class Rows {
  constructor(panel, view, description) {
    Object.assign(this, { view, description });
    this.topics = description.topics.filter((topic) => topic.rows !== 0);
    this.choice = el("select", { id: "rows-topic" });
    this.choice.append(...this.topics.map(({ name }) => el("option", {}, name)));
    this.choice.addEventListener("change", () => this.#choose(this.choice.value, { push: true }));
    this.columns = el("details", { class: "rows-columns" });
    this.table = el("div", { class: "rows-table" });
    this.told = el("span", { class: "muted", role: "status" });
    replace(panel, el("div", { class: "card rows" }, this.#bar(), this.columns, this.table));
    view.on("axis", () => this.grid?.redraw());
    place.onReturn(() => this.#choose(this.#asked(), {}));
    this.#choose(this.#asked(), {});
  }

  #asked() {
    const asked = place.read().get("topic");
    const plotted = this.view.fields[0]?.topic;
    const known = [asked, plotted].find((name) => this.topics.some((topic) => topic.name === name));
    return known ?? this.topics[0]?.name ?? null;
  }

  #bar() {
    const label = el("label", { for: "rows-topic", class: "muted" }, "Topic");
    const button = (words, onclick) => el("button", { type: "button", class: "button", onclick }, words);
    this.cursor = button("From the cursor", () => this.#from("cursor"));
    const start = button("From the span", () => this.#from("span"));
    const copy = button("Copy these rows", () => this.#copy());
    this.view.on("cursor", () => this.#mark());
    return el("div", { class: "toolbar" }, label, this.choice, this.cursor, start, copy, this.told);
  }

  #mark() {
    this.cursor.disabled = this.view.cursorNs === null;
  }

  #choose(name, { push = false }) {
    this.topic = this.topics.find((topic) => topic.name === name) ?? null;
    if (this.topic === null) {
      empty(this.table, "No topic has rows yet.");
      return;
    }
    this.choice.value = name;
    if (push) place.write({ topic: name }, { push });
    this.shown = this.topic.fields.slice(0, WIDE).map((field) => field.name);
    this.startNs = this.view.cursorNs ?? this.view.fromNs;
    this.#mark();
    this.#chooseColumns();
    this.#draw();
  }

  #from(what) {
    this.startNs = what === "cursor" ? this.view.cursorNs : this.view.fromNs;
    this.grid.reset();
  }

  #chooseColumns() {
    const { fields } = this.topic;
    const summary = el("summary", {}, `Columns (${this.shown.length} of ${fields.length})`);
    const boxes = fields.map(({ name }) => {
      return tick(name, this.shown.includes(name), (isOn) => {
        const wanted = new Set(this.shown);
        if (isOn) wanted.add(name);
        else wanted.delete(name);
        this.shown = fields.map((field) => field.name).filter((one) => wanted.has(one));
        replace(summary, `Columns (${this.shown.length} of ${fields.length})`);
        this.#draw();
      }).node;
    });
    replace(this.columns, summary, el("div", { class: "rows-boxes" }, boxes));
  }

  #draw() {
    const { view } = this;
    const field = (name) => this.topic.fields.find((known) => known.name === name);
    const columns = this.shown.map((name, n) => ({
      key: name,
      title: field(name).unit ? `${name} [${field(name).unit}]` : name,
      describe: field(name).description || field(name).type,
      render: (row) => cell(row.values[n + 1], field(name).type),
      width: /^(double|u?int64)$/.test(field(name).type) ? "minmax(11.5rem, 1fr)" : "minmax(7rem, 1fr)",
      align: field(name).numeric ? "end" : "",
    }));
    const time = {
      key: TIME,
      title: "time",
      render: ({ values: [ns] }) => el("span", { title: `${ns} ns` }, exactTime(BigInt(ns), view.axis, view.originNs)),
      width: "minmax(13.5rem, 18rem)",
    };
    this.grid = new VirtualTable(this.table, {
      columns: [time, ...columns],
      fetchPage: (cursor, asked) => this.#page(cursor, asked),
      rowKey: (row) => String(row.number),
      onopen: (row) => view.setCursor(BigInt(row.values[0])),
      onstate: ({ loaded, isWhole }) => this.#say(loaded, isWhole),
      rowHeight: 28,
      whenEmpty: (node) => empty(node, "No rows from here on.", "Choose “From the span”, or move the cursor."),
      label: `Rows of ${this.topic.name}`,
    });
  }

  #say(loaded, isWhole) {
    replace(this.told, `${rowsWords(loaded)} here${isWhole ? ", all from there on" : ""}`);
  }

  async #page(cursor, { signal }) {
    const asked = { format: "json", columns: this.shown, start_ns: this.startNs, limit: PAGE, after: cursor };
    const page = await api.get(`${this.topic.path}/data`, asked, { signal });
    if (cursor === null) this.count = 0;
    const rows = page.rows.map((values) => ({ values, number: this.count++ }));
    return { rows, next: page.next };
  }

  async #copy() {
    const { rows } = this.grid;
    const isCut = rows.some(({ values }) => values.some((value) => value?.too_large_bytes !== undefined));
    if (isCut) {
      toast("Not copied: some cells are too large for this table; Export has them", "warn");
      return;
    }
    const head = [TIME, ...this.shown].map(quotedCell).join("\t");
    const lines = rows.map(({ values }) => values.map((value) => quotedCell(plain(value))).join("\t"));
    const isDone = await copyText([head, ...lines].join("\n"));
    if (isDone) toast(`Copied ${rowsWords(lines.length)}`);
    else toast("The browser refused; use Export", "warn");
  }
}

// JSON has no word for NaN and the infinities: where a float is missing it may have been one of them.
function cell(value, type) {
  if (typeof value === "number") return numberText(value, type);
  if (value !== null) return plain(value);
  const isFloat = /^(float|double|halffloat)/.test(type);
  if (isFloat) return el("span", { class: "muted", title: "null, NaN or infinite" }, "no number");
  return el("span", { class: "muted" }, "null");
}

// As spreadsheets read it: a text with a tab, a line end or a quote stands in quotes.
function quotedCell(text) {
  return /[\t\r\n"]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function plain(value) {
  if (value === null) return "";
  if (Array.isArray(value)) return stringify(value);
  if (value.too_large_bytes !== undefined) return `${bytes(value.too_large_bytes)}: only in Export`;
  if (typeof value === "object") return value.bytes === undefined ? stringify(value) : `${value.bytes} bytes`;
  return String(value);
}
