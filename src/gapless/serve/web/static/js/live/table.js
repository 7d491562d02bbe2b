// What is being recorded, one row each; a row stays the same node while its figures change.

import { segment } from "../core/api.js";
import { el } from "../core/dom.js";
import { count, utc } from "../core/format.js";
import { clock } from "./sample_words.js";

const TICK_MS = 1000;
const KINDS = { run: "run", episode: "episode", recording: "recording" };

/** Returns {node, show(live)}. */
export function liveTable() {
  const rows = new Map();
  const body = el("tbody", {});
  const heads = ["Name", "What", "Group", "For", "Rows", "Rate", "Dropped", "Topics"];
  const node = el(
    "div",
    { class: "table-scroll", tabindex: "0", role: "group", "aria-label": "What is being recorded" },
    el(
      "table",
      { class: "plain-table live-table" },
      el("thead", {}, el("tr", {}, heads.map((word, n) => el("th", { scope: "col", class: n > 2 ? "end" : null }, word)))),
      body,
    ),
  );
  setInterval(() => {
    for (const row of rows.values()) row.tick();
  }, TICK_MS);

  function show(live) {
    const keys = new Set(live.map(keyOf));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      row.node.remove();
      rows.delete(key);
    }
    live.forEach((item, at) => {
      const key = keyOf(item);
      if (!rows.has(key)) rows.set(key, new LiveRow(item));
      const row = rows.get(key);
      row.show(item);
      if (body.children[at] !== row.node) body.insertBefore(row.node, body.children[at] ?? null);
    });
  }
  return { node, show };
}

class LiveRow {
  #cells = Array.from({ length: 7 }, (_, n) => el("td", { class: n > 1 ? "end" : null }));
  #started_ms;
  #before = null;

  constructor({ name, started_ns: started }) {
    this.#started_ms = Number(BigInt(started) / 1_000_000n);
    this.#cells[2].title = `since ${utc(started)}`;
    const link = el("a", { href: `/live/${segment(name)}` }, name);
    this.node = el("tr", { "data-name": name }, el("th", { scope: "row" }, link), this.#cells);
  }

  show({ kind, group, rows, dropped, topics, episode }) {
    const what = episode === null ? KINDS[kind] : `${KINDS[kind]} ${episode.index}`;
    this.#write([what, group ?? "–", null, count(rows), this.#rate(rows), count(dropped), count(topics)]);
    this.#cells[5].dataset.level = dropped > 0 ? "bad" : "ok";
    this.tick();
  }

  tick() {
    this.#write([null, null, clock((Date.now() - this.#started_ms) / 1000)]);
  }

  #rate(rows) {
    const now_ms = performance.now();
    const before = this.#before;
    this.#before = { rows, now_ms };
    if (before === null || now_ms <= before.now_ms) return "–";
    return `${count(Math.max(0, ((rows - before.rows) / (now_ms - before.now_ms)) * 1000))}/s`;
  }

  #write(words) {
    words.forEach((word, n) => {
      if (word !== null && this.#cells[n].textContent !== word) this.#cells[n].textContent = word;
    });
  }
}

function keyOf({ name, started_ns: started }) {
  return `${started} ${name}`;
}
