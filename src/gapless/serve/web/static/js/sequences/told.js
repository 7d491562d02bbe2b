// What the page says about a search: how its text is used, what the server warned of or refused, what to do when
// nothing was found.

import { el, replace } from "../core/dom.js";
import { count } from "../core/format.js";
import { empty, failure } from "../core/message.js";
import { FILTERS, isNarrowed } from "./search.js";

const USES = {
  none: "Words are looked for in names, groups, metadata, topics and labels; a comparison makes it a query.",
  text: "Used as words: looked for in names, groups, metadata, topics and labels.",
  query: "Used as a query.",
  unfinished: "Used as a query, which is not finished yet: Enter asks all the same.",
};
const FIRST_STEPS = `\
gapless demo --store STORE    # twenty seconds of a simulated IMU
gapless record --help         # your own data`;
const FILTER_WORDS = { state: "status", outcome: "outcome", group: "group" };

/** Say how the text is used and what the server warned of. */
export function tellUse(node, use, warnings = []) {
  replace(node, el("p", { class: "hint" }, USES[use]), warnings.map((words) => el("p", { class: "hint" }, words)));
}

/** Say what the server refused; a query that it cannot read can be looked for as words instead. */
export function tellRefusal(node, error, { use, asWords }) {
  const isUnread = use === "query" && error.status === 400;
  replace(node, isUnread ? unread(error, asWords) : failure(error));
}

function unread(error, asWords) {
  return el(
    "p",
    { class: "hint", "data-level": "bad", role: "alert" },
    `Not a query: ${error.message}`,
    error.found !== null && [", found ", el("code", {}, error.found)],
    ". ",
    el("button", { type: "button", class: "link", onclick: asWords }, "Look for these words instead"),
  );
}

/** Say how many there are. */
export function tellCount(node, { total, loaded, isWhole }) {
  const number = isWhole ? loaded : total;
  const words = number === null ? `more than ${count(loaded)}` : count(number);
  node.textContent = `${words} ${number === 1 ? "sequence" : "sequences"}`;
}

/** Say why the list is empty and what to do: another search, or a first recording. */
export function tellNothing(node, search, { clear }) {
  if (!isNarrowed(search)) {
    empty(node, "Nothing is recorded in this store yet.", firstSteps());
    return;
  }
  const narrowing = ["query", ...FILTERS].filter((name) => (search[name] ?? "") !== "");
  const buttons = narrowing.map((name) =>
    el("button", { type: "button", class: "button", onclick: () => clear([name]) }, clearWords(name, search[name])),
  );
  const all = el("button", { type: "button", class: "button", onclick: () => clear(narrowing) }, "Show all sequences");
  empty(node, "No sequence matches.", [
    el("p", {}, "Look for fewer words, or leave a condition out:"),
    el("div", { class: "toolbar" }, buttons, narrowing.length > 1 && all),
  ]);
}

function clearWords(name, value) {
  return name === "query" ? "Clear the search" : `Any ${FILTER_WORDS[name]} instead of ${value}`;
}

function firstSteps() {
  return [
    el("p", {}, "Record something into it, then it appears here by itself:"),
    el("pre", { tabindex: "0" }, FIRST_STEPS),
  ];
}
