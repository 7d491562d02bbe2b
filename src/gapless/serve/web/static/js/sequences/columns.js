// The columns of the list of sequences, and what each says of one.

import { segment } from "../core/api.js";
import { el } from "../core/dom.js";
import { bytes, count, duration, time, utc } from "../core/format.js";

const OUTCOME_LEVELS = { aborted: "warn", interrupted: "warn" };

/** Return the address of a sequence's page; with {topic, start_ns, end_ns} the page opens zoomed to that span. */
export function placeOf(name, span = null) {
  const zoom = span === null ? "" : `?from=${span.start_ns}&to=${span.end_ns}&topic=${encodeURIComponent(span.topic)}`;
  return `/sequences/${segment(name)}${zoom}`;
}

/** Return the columns; ``sparklines`` draws the curve. Narrow tables say the most important under the name. */
export function columnsWith(sparklines) {
  return [
    { key: "name", title: "Name", sort: "name", width: "minmax(min(14rem, 50cqi), 6fr)", render: nameCell },
    { key: "curve", title: "Signal", width: "6rem", render: (row) => sparklines.node(row) },
    { key: "status", title: "Status", sort: "state", width: "8.5rem", from: 640, render: statusCell },
    { key: "start", title: "Started", sort: "-start", width: "9.5rem", from: 760, render: startCell },
    number("duration", "Duration", "5rem", 640, (row) => duration(row.duration_ns)),
    number("rows", "Rows", "6rem", 900, (row) => count(row.rows)),
    number("bytes", "Size", "5rem", 760, (row) => bytes(row.bytes)),
    number("topics", "Topics", "4rem", 1400, (row) => count(row.topics)),
    number("labels", "Labels", "4rem", 1400, (row) => count(row.labels)),
    { key: "group", title: "Group", sort: "group", width: "minmax(4rem, 1fr)", from: 1100, render: groupCell },
    { key: "health", title: "Health", width: "minmax(8.5rem, 2fr)", from: 980, render: healthCell },
  ];
}

/** Return the spans of a content query as links that open the sequence there, null without any. */
export function spansOf(row) {
  if (!row.spans?.length) return null;
  const more = (row.spans_total ?? row.spans.length) - row.spans.length;
  return el(
    "div",
    { class: "spans" },
    row.spans.map((span) => spanLink(row.name, span)),
    more > 0 && el("a", { class: "pill", href: placeOf(row.name) }, `${count(more)} more`),
  );
}

function spanLink(name, span) {
  const length = BigInt(span.end_ns) - BigInt(span.start_ns);
  const window = { ...span, end_ns: String(BigInt(span.end_ns) + 1n) }; // both ends of a span are in it
  return el(
    "a",
    { class: "pill", href: placeOf(name, window), title: `${utc(span.start_ns)} to ${utc(span.end_ns)}` },
    `${span.topic} ${clock(span.start_ns)}, ${length === 0n ? "one row" : duration(length)}`,
  );
}

function clock(ns) {
  return time(ns, { precision: "ms" }).slice("2026-11-21 ".length);
}

function number(key, title, width, from, render) {
  return { key, title, sort: `-${key}`, width, from, align: "end", render };
}

function nameCell(row) {
  return [
    el("a", { class: "sequence-name", href: placeOf(row.name), title: row.name }, row.name),
    el("div", { class: "sequence-facts" }, statusCell(row), `${duration(row.duration_ns)} · ${bytes(row.bytes)}`),
  ];
}

function statusCell({ live, status, outcome }) {
  if (live) return el("span", { class: "badge", "data-level": "live" }, "live");
  if (status === "sealed" && outcome === "completed") return el("span", {}, "completed");
  const isWhole = status === "sealed" && outcome !== null;
  const level = isWhole ? (OUTCOME_LEVELS[outcome] ?? "bad") : "warn";
  return el("span", { class: "badge", "data-level": level }, isWhole ? outcome.replaceAll("_", " ") : status);
}

/** When the first row was taken, as `gapless ls` has it; without rows when the sequence was made. */
function startCell({ start_ns: start, created_ns: created }) {
  const ns = start ?? created;
  return el("time", { datetime: utc(ns), title: utc(ns) }, time(ns));
}

function groupCell({ group }) {
  return group ?? "";
}

/** What is as it should be is said quietly, so that what is not stands out. */
function healthCell({ health }) {
  if (health.level === "ok") return el("span", { class: "muted", title: health.words }, "ok");
  return el("span", { class: "badge", "data-level": health.level, title: health.words }, health.words);
}
