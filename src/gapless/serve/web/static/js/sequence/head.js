// The head of the page: the name, how the recording stands, how much there is.

import { el, replace } from "../core/dom.js";
import { segment } from "../core/api.js";
import { bytes, duration } from "../core/format.js";
import { rowsWords } from "./words.js";

/** Fill the head with what is known of a sequence. */
export function showHead(node, { raw, isOpen }, tabs) {
  const length = raw.duration_ns === null ? "no rows" : duration(raw.duration_ns);
  const facts = [raw.group, length, rowsWords(raw.rows), raw.bytes === null ? null : bytes(raw.bytes)].filter(Boolean);
  const watch = raw.live ? el("a", { class: "button", href: `/live/${segment(raw.name)}` }, "Watch live") : null;
  replace(
    node,
    el("nav", { "aria-label": "Way back" }, el("a", { href: "/" }, "Sequences")),
    el(
      "div",
      { class: "toolbar" },
      el("h1", {}, raw.name),
      el("span", { class: "badge", "data-level": level(raw) }, stands(raw)),
      el("span", { class: "push sequence-acts" }, isOpen && raw.live ? tabs.followBox : null, watch),
    ),
    el("p", { class: "muted" }, facts.join(" · ")),
  );
}

function stands({ live, state, outcome, status }) {
  if (live) return "live";
  return state === "sealed" ? outcome : status;
}

function level({ live, state, outcome, health }) {
  if (live) return "live";
  return state === "sealed" && outcome === "completed" ? "ok" : health.level;
}
