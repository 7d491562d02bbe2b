// What to do with a sequence that is not sealed and that nobody writes any more.

import * as api from "../core/api.js";
import { ask } from "../core/dialog.js";
import { el } from "../core/dom.js";
import { time } from "../core/format.js";

/** Return a card with the next step, null where there is nothing to do. */
export function rescue(description) {
  const { state, live, awaited_until_ns: awaitedNs } = description.raw;
  if (state === "sealed" || live) return null;
  if (state === "pending") {
    return card(description, "seal", "Seal", "The recording failed and was kept. Sealing makes what is there final.");
  }
  const gone = "Its recorder is gone. Recovering seals all rows that reached the disk.";
  return card(description, "recover", "Recover", awaitedNs === null ? gone : away(awaitedNs));
}

function away(awaitedNs) {
  const until = `Its client is away and may come back until ${time(awaitedNs)}.`;
  return `${until} Recovering does not wait for it: it seals all rows that reached the disk.`;
}

function card(description, verb, title, words) {
  const act = el("button", { type: "button", class: "button primary", "data-needs": "write" }, `${title}…`);
  act.addEventListener("click", () => settle(description, verb, title, words));
  const about = { class: "card toolbar rescue", "data-level": "warn" };
  return el("section", about, el("p", {}, words), el("span", { class: "push" }, act));
}

async function settle(description, verb, title, words) {
  const done = await ask({
    title: `${title} ${description.name}?`,
    words,
    confirm: title,
    work: () => api.post(`${description.path}/${verb}`),
  });
  if (done !== null) location.reload();
}
