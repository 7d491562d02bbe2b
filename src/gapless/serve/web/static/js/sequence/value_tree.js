// Nested values as a tree that opens and closes: metadata, provenance, what an event carries.

import { el } from "../core/dom.js";
import { stringify } from "../core/json.js";

const OPEN_ENTRIES = 12;
const LONG = 400;

/** Return nested values as nodes; `path` is what a query calls the top, null where no query reaches. */
export function valueTree(value, path = null) {
  const entries = Object.entries(value ?? {});
  if (entries.length === 0) return el("p", { class: "muted" }, "none");
  return el("ul", { class: "value-tree" }, entries.map(([key, inner]) => branch(key, inner, step(path, key))));
}

function branch(key, value, path) {
  if (value === null || typeof value !== "object") return leaf(key, value, path);
  const isList = Array.isArray(value);
  const entries = Object.entries(value);
  if (isList && entries.every(([, one]) => one === null || typeof one !== "object")) {
    return leaf(key, value.map(item).join(", "), path);
  }
  const size = el("span", { class: "muted" }, isList ? ` ${entries.length} entries` : "");
  const inner = entries.map(([name, one]) =>
    isList ? branch(`[${name}]`, one, path) : branch(name, one, step(path, name)),
  );
  const title = el("summary", {}, el("span", { class: "value-key" }, key), size);
  return el("li", {}, el("details", { open: entries.length <= OPEN_ENTRIES }, title, el("ul", {}, inner)));
}

function leaf(key, value, path) {
  const text = value === null ? "none" : String(value);
  const shown = text.length > LONG ? `${text.slice(0, LONG)}…` : text;
  const title = path === null ? null : `in a query: ${path}`;
  const name = el("span", { class: "value-key", title }, key);
  return el("li", {}, name, " ", el("span", { class: "value-leaf", "data-type": typeof value }, shown));
}

// A text that holds the comma between items is put in quotes; so is one that looks like a number.
function item(value) {
  const isPlain = typeof value !== "string" || (/^[^\s",]+$/.test(value) && Number.isNaN(Number(value)));
  return isPlain ? String(value) : stringify(value);
}

function step(path, key) {
  return path === null ? null : `${path}.${key.replace(/[\\.]/g, "\\$&")}`;
}
