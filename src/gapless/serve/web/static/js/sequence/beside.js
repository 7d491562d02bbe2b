// What stands beside the rows, as lists: gaps with their causes, events, labels. Each leads to its place.

import { el } from "../core/dom.js";
import { count, duration } from "../core/format.js";
import { failure } from "../core/message.js";
import { exactTime } from "./exact.js";
import { valueTree } from "./value_tree.js";
import { tick } from "./plot_tools.js";
import { rowsWords } from "./words.js";

const LISTED = 50;
const MORE = 200;
const LEVELS = { debug: "", info: "ok", warning: "warn", error: "bad", critical: "bad" };

/** What a person chose to see of the lists; `changed()` is called after each choice. */
export class Listing {
  #most = new Map();
  isWhole = false; // also what the run told only for who looks for a fault

  constructor(changed) {
    this.changed = changed;
  }

  /** How many of a list are shown. */
  most(title) {
    return this.#most.get(title) ?? LISTED;
  }

  /** Show more of a list. */
  more(title) {
    this.#most.set(title, this.most(title) + MORE);
    this.changed();
  }

  /** Show events of the severity debug, or leave them out. */
  choose(isWhole) {
    this.isWhole = isWhole;
    this.changed();
  }
}

/** Return the cards of what is there; `onlook(fromNs, toNs)` shows a place in the plots. */
export function findingsBeside(marks, view, onlook, listing) {
  if (marks.error !== null) return el("div", {}, failure(marks.error, () => marks.load()));
  if (view === null) return null;
  const place = (mark) => button(mark, view, onlook);
  const told = marks.events.filter(({ severity }) => severity !== "debug");
  const events = listing.isWhole || told.length === 0 ? marks.events : told;
  const isMixed = told.length > 0 && told.length < marks.events.length;
  const debug = isMixed && tick("Debug events", listing.isWhole, (isOn) => listing.choose(isOn)).node;
  return [
    card("Gaps", marks.gaps, listing, (gap) => [place(gap), gapLine(gap)]),
    card("Events", events, listing, (event) => [place(event), eventLine(event)], debug),
    card("Labels", marks.labels, listing, (label) => [place(label), labelLine(label)]),
  ];
}

function card(title, marks, listing, line, choice = null) {
  if (marks.length === 0) return null;
  const items = marks.slice(0, listing.most(title)).map((mark) => el("li", {}, line(mark)));
  const left = marks.length - items.length;
  const more = { type: "button", class: "button", onclick: () => listing.more(title) };
  const head = el("h2", {}, title, " ", el("span", { class: "pill" }, count(marks.length)));
  const foot = left > 0 && el("button", more, `Show ${count(Math.min(left, MORE))} more`);
  return el("section", { class: "card stack beside" }, head, choice, el("ul", {}, items), foot);
}

function button(mark, view, onlook) {
  const room = (mark.endNs - mark.startNs) / 2n || 1_000_000_000n;
  const look = () => onlook(mark.startNs - room, mark.endNs + room);
  const about = { type: "button", class: "link", title: "Show in the plots", onclick: look };
  return el("button", about, exactTime(mark.startNs, view.axis, view.originNs));
}

function labelLine({ name, author }) {
  return [` ${name}`, author ? el("span", { class: "muted" }, ` ${author}`) : null];
}

function gapLine(gap) {
  const missing = gap.count === null ? "unknown count" : rowsWords(gap.count);
  const lasts = gap.endNs > gap.startNs ? ` for ${duration(gap.endNs - gap.startNs)}` : "";
  const topic = gap.topic === "*" ? "all topics" : gap.topic;
  return [` ${topic}: ${missing}${lasts}, `, el("strong", {}, gap.cause)];
}

function eventLine(event) {
  const level = LEVELS[event.severity] ?? "ok";
  const badge = el("span", { class: "badge", "data-level": level || null }, event.severity);
  const kind = event.message ? el("span", { class: "muted" }, ` ${event.kind}`) : null;
  const source = event.source ? el("span", { class: "muted" }, ` ${event.source}`) : null;
  return [" ", badge, ` ${event.message || event.kind}`, kind, source, details(event.data)];
}

// What an event carries: which value was written, which limit was left.
function details(data) {
  if (data === null || data === undefined || Object.keys(data).length === 0) return null;
  return el("details", { class: "beside-data" }, el("summary", {}, "details"), valueTree(data));
}
