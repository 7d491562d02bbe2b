// Tables of a recording's figures: devices, queues, cameras, topics. Rows are kept and only their words change, so
// that a selection and the place of the eye survive each second.

import { el, replace } from "../core/dom.js";
import { count, time } from "../core/format.js";
import { age } from "./sample_words.js";

const MS = 1e6;

/** A table of devices: rate, readings, age, and how long one may be silent. */
export function deviceTable(node) {
  const table = keyedTable(node, "Devices", ["Device", "Rate", "Readings", "Last"]);
  return (devices) =>
    table(
      Object.entries(devices).map(([name, facts]) => {
        const late = facts.age_s !== null && facts.silence_deadline_s !== null && facts.age_s > facts.silence_deadline_s / 2;
        const limit = facts.silence_deadline_s === null ? "" : ` (limit ${facts.silence_deadline_s} s)`;
        return {
          key: name,
          level: late ? "warn" : null,
          cells: [name, rate(facts.rate_hz), count(facts.readings), `${age(facts.age_s)}${late ? limit : ""}`],
        };
      }),
    );
}

/** A table of every queue between device and disk: what waits now, what waited at most, what was dropped. */
export function queueTable(node) {
  const table = keyedTable(node, "Queues", ["Queue", "Waiting", "Most", "Dropped", "Blocked"]);
  return (hops) =>
    table(
      Object.entries(hops)
        .filter(([, hop]) => hop.depth !== undefined)
        .map(([name, hop]) => ({
          key: name,
          level: hop.dropped > 0 && !name.startsWith("ui:") ? "bad" : hop.blocked_since_ns != null ? "warn" : null,
          cells: [name, count(hop.depth), count(hop.depth_max), count(hop.dropped), milliseconds(hop.blocked_ns)],
        })),
    );
}

/** A table of cameras: the pictures that their containers took. Rows appear with the first picture. */
export function cameraTable(node) {
  const table = keyedTable(node, "Cameras", ["Camera", "Pictures", "Last"]);
  const known = new Map();
  return (frames) => {
    for (const [name, frame] of Object.entries(frames)) known.set(name, frame);
    table(
      [...known].map(([name, { frame_idx: number, timestamp_ns: stamp }]) => ({
        key: name,
        level: null,
        cells: [name, count(number + 1), time(stamp, { precision: "ms" }).slice(11)],
      })),
    );
  };
}

/** A table of the topics of a recording that is no run. */
export function topicTable(node) {
  const table = keyedTable(node, "Topics", ["Topic", "Rows", "Rate", "Dropped", "Behind"]);
  return (topics) =>
    table(
      Object.entries(topics).map(([name, facts]) => ({
        key: name,
        level: facts.dropped > 0 ? "bad" : null,
        cells: [name, count(facts.rows), rate(facts.rate_hz), count(facts.dropped), facts.lag_s === null ? "–" : `${facts.lag_s.toFixed(1)} s`],
      })),
    );
}

function keyedTable(node, label, heads) {
  const rows = new Map();
  const body = el("tbody", {});
  const head = el("tr", {}, heads.map((word, n) => el("th", { scope: "col", class: n > 0 ? "end" : null }, word)));
  const table = el("table", { class: "plain-table", "aria-label": label }, el("thead", {}, head), body);
  replace(node, el("div", { class: "table-scroll", tabindex: "0", role: "group", "aria-label": label }, table));
  return (wanted) => {
    const keys = new Set(wanted.map(({ key }) => key));
    for (const [key, row] of rows) {
      if (keys.has(key)) continue;
      row.remove();
      rows.delete(key);
    }
    for (const { key, level, cells } of wanted) {
      if (!rows.has(key)) rows.set(key, body.appendChild(emptyRow(cells.length)));
      fillRow(rows.get(key), level, cells);
    }
  };
}

function emptyRow(width) {
  return el(
    "tr",
    {},
    el("th", { scope: "row" }),
    Array.from({ length: width - 1 }, () => el("td", { class: "end" })),
  );
}

function fillRow(row, level, cells) {
  if (level === null) delete row.dataset.level;
  else row.dataset.level = level;
  cells.forEach((words, n) => {
    if (row.children[n].textContent !== words) row.children[n].textContent = words;
  });
}

function rate(hz) {
  return hz === null || hz === undefined ? "–" : `${Number(hz.toPrecision(3))}/s`;
}

function milliseconds(ns) {
  return ns === null || ns === undefined ? "–" : `${Math.round(Number(ns) / MS)} ms`;
}
