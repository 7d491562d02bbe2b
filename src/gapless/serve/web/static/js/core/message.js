// What a view says while it has nothing to show: that it works on it, that there is nothing, what went wrong.
// Each takes the place of all that the node held.

import { el, replace } from "./dom.js";
import { stringify } from "./json.js";

const TOAST_MS = 6000;

/** Say that something is under way. */
export function busy(node, words = "Loading…") {
  return replace(node, el("p", { class: "busy", role: "status", "aria-busy": "true" }, words));
}

/** Say that there is nothing, and what to do about it; the hint is text or nodes. */
export function empty(node, title, hint = null) {
  return replace(
    node,
    el("div", { class: "empty" }, el("p", { class: "empty-title" }, title), hint && el("div", {}, hint)),
  );
}

/** Say what went wrong and what to do; ``retry`` adds a button that calls it. */
export function failed(node, error, retry = null) {
  return replace(node, failure(error, retry));
}

/** Return the words of an error as a node: its message, what was found and expected, the next step. */
export function failure(error, retry = null) {
  const facts = [
    ["found", error.found],
    ["expected", error.expected],
  ].filter(([, fact]) => fact !== null && fact !== undefined && fact !== "");
  return el(
    "div",
    { class: "error", role: "alert" },
    el("p", { class: "error-title" }, marked(sentence(error.message)), error.code && [" ", codeOf(error)]),
    facts.length > 0 &&
      el("dl", { class: "error-facts" }, facts.map(([word, fact]) => [el("dt", {}, word), el("dd", {}, said(fact))])),
    error.next && el("p", { class: "error-next" }, marked(sentence(error.next))),
    error.status === 401 && el("p", {}, el("a", { class: "button", href: signIn() }, "Sign in")),
    retry && el("p", {}, el("button", { class: "button", type: "button", onclick: retry }, "Try again")),
  );
}

/** Show a few words for some seconds, and tell them to screen readers. */
export function toast(words, level = "ok") {
  const stack = document.getElementById("toasts");
  const shown = el("div", { class: "toast", "data-level": level }, words);
  stack.append(shown);
  announce(words);
  setTimeout(() => shown.remove(), TOAST_MS);
}

/** Tell words to screen readers only. */
export function announce(words) {
  const place = document.getElementById("announcement");
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = words; // the same words twice are heard twice
  });
}

/** Return words as nodes, what stands between backticks as code: commands and names, as errors write them. */
export function marked(words) {
  return words.split("`").map((part, at) => (at % 2 === 1 ? el("code", {}, part) : part));
}

function codeOf(error) {
  return el("span", { class: "error-code", title: `gapless explain ${error.code}` }, error.code);
}

function said(fact) {
  return typeof fact === "string" ? fact : stringify(fact);
}

function sentence(words) {
  return words === "" ? words : words[0].toUpperCase() + words.slice(1);
}

function signIn() {
  return `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
}
