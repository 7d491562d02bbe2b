// What a training measured, as tables: numbers by name, and one table for each group of the same kind.

import { el } from "../core/dom.js";
import { value } from "../core/format.js";

/** Return nodes for metrics: numbers, texts, and objects and lists of them. */
export function metricTables(metrics, title = "") {
  const entries = Object.entries(metrics ?? {});
  const plain = entries.filter(([, item]) => !isObject(item));
  const groups = entries.filter(([, item]) => isObject(item));
  return [
    title !== "" && (plain.length > 0 || isTable(groups)) && el("h3", {}, title),
    plain.length > 0 && facts(plain),
    isTable(groups)
      ? table(groups)
      : groups.map(([name, item]) => metricTables(item, title === "" ? name : `${title}, ${name}`)),
  ];
}

function facts(entries) {
  return el(
    "dl",
    { class: "facts" },
    entries.map(([name, item]) => [el("dt", {}, name), el("dd", {}, said(item))]),
  );
}

function isObject(item) {
  return item !== null && typeof item === "object" && !Array.isArray(item);
}

/** True for several objects that hold plain values under mostly the same names, such as one for each class. */
function isTable(groups) {
  return groups.length > 0 && groups.every(([, item]) => Object.values(item).every((each) => !isObject(each)));
}

function table(groups) {
  const names = [...new Set(groups.flatMap(([, item]) => Object.keys(item)))];
  return el(
    "div",
    { class: "table-scroll", role: "region", "aria-label": "Metrics", tabindex: "0" },
    el(
      "table",
      { class: "plain-table" },
      el("thead", {}, el("tr", {}, el("td"), names.map((name) => el("th", { scope: "col", class: "end" }, name)))),
      el(
        "tbody",
        {},
        groups.map(([group, item]) =>
          el(
            "tr",
            {},
            el("th", { scope: "row" }, group),
            names.map((name) => el("td", { class: "end" }, said(item[name]))),
          ),
        ),
      ),
    ),
  );
}

function said(item) {
  return typeof item === "number" || item === undefined || item === null ? value(item) : String(item);
}
