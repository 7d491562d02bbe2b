// How states are said and shown: a word and a level for each, the same on every view of features.

import { el } from "../core/dom.js";

const LEVELS = {
  ok: "ok",
  finished: "ok",
  approved: "ok",
  empty: "ok",
  running: "live",
  stale: "warn",
  pending: "warn",
  waiting: "warn",
  unfinished: "warn",
  interrupted: "warn",
  failed: "bad",
  error: "bad",
  damaged: "bad",
};
const WORDS = { none: "nothing in scope", error: "cannot be named", ok: "up to date" };

/** Return a badge for the state of a step, an entry, a run or a training. */
export function stateBadge(state, words = state) {
  return el("span", { class: "badge", "data-level": LEVELS[state] ?? null }, words);
}

/** Return what the state of a step is called. */
export function stepWords(state) {
  return WORDS[state] ?? state;
}

/** Return counts as text, the zeros left out: "4 ok · 1 stale". */
export function countsText(counts) {
  const told = Object.entries(counts).filter(([, count]) => count > 0);
  return told.map(([status, count]) => `${count} ${status}`).join(" · ");
}

/** Return the address of a feature run's page, or with ``isModel`` of a model's. */
export function runPlace(name, runId, isModel = false) {
  const place = `/features/${encodeURIComponent(name)}/${encodeURIComponent(runId)}`;
  return isModel ? `${place}?kind=model` : place;
}

/** Return a link to the page of a sequence. */
export function sequenceLink(name) {
  return el("a", { href: `/sequences/${encodeURIComponent(name)}` }, name);
}

/** Return the server's text of a time (ISO 8601 in UTC) as nanoseconds; null for none. */
export function nsOf(iso) {
  if (!iso) return null;
  const milliseconds = Date.parse(iso);
  return Number.isNaN(milliseconds) ? null : BigInt(milliseconds) * 1_000_000n;
}
