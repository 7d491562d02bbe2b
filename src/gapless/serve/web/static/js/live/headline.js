// The head of a live page: what it is, how far it is, and what became of it.

import { segment } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { utc } from "../core/format.js";
import { announce, failure, marked } from "../core/message.js";
import { clock } from "./sample_words.js";

const TICK_MS = 500;
const KINDS = { run: "run of a rig", episode: "episode", recording: "recording" };
const SILENT_MS = 5000; // a run tells its status each second
const GOOD = new Set(["completed"]);
const FAIR = new Set(["aborted"]);

/** Fill a node. Returns {hello, status, end, link}: each shows what a stream told. */
export function headline(node, told, name) {
  const state = el("span", { class: "badge", "data-level": "live", id: "state" }, "connecting");
  const kind = el("span", { class: "muted" });
  const elapsed = el("span", { class: "elapsed mono", title: "since its start" });
  const step = el("p", { class: "step" });
  const trouble = el("p", { class: "hint", "data-level": "bad", role: "status" });
  let began = null;
  let heard = null;
  let lost = "";
  let isRun = false;
  replace(
    node,
    el("p", { class: "muted" }, el("a", { href: "/live" }, "Live")),
    el("h1", {}, name),
    el("p", { class: "toolbar" }, state, kind, elapsed),
    step,
    trouble,
  );
  const ticking = setInterval(() => {
    const isSilent = heard !== null && performance.now() - heard > SILENT_MS;
    trouble.textContent = lost || (isSilent ? "Nothing new is told; what is shown may be old." : "");
    if (began !== null && !isSilent) elapsed.textContent = clock((performance.now() - began) / 1000);
  }, TICK_MS);

  return {
    hello({ kind: word, group, started_ns: started }) {
      isRun = word === "run";
      kind.textContent = group === null ? KINDS[word] : `${KINDS[word]} · group ${group}`;
      elapsed.title = `since ${utc(started)}`;
    },
    status({ state: word, outcome, elapsed_s: seconds, procedure, episode }) {
      state.textContent = outcome ? `${word}, ${outcome}` : word;
      heard = performance.now();
      began = heard - seconds * 1000;
      step.textContent = procedure?.text ?? (episode ? episodeWords(episode) : "");
    },
    link(words) {
      lost = words;
      trouble.textContent = words;
    },
    end(ended) {
      clearInterval(ticking);
      trouble.textContent = "";
      state.textContent = ended.outcome ? `${ended.state}, ${ended.outcome}` : ended.state;
      state.dataset.level = GOOD.has(ended.outcome) ? "ok" : FAIR.has(ended.outcome) ? "warn" : "bad";
      announce(`${name} has ended: ${state.textContent}`);
      replace(told, ending(name, ended, isRun));
    },
    refused(error) {
      clearInterval(ticking);
      trouble.textContent = ""; // the server does answer
      state.remove();
      replace(told, failure(error), error.status === 409 && el("p", {}, opened(name)));
    },
  };
}

function episodeWords({ session, index, task, seed, frames, late, dropped }) {
  const counts = [`${frames} frames`, `${late} late`, `${dropped} dropped`];
  return [`episode ${index} of ${session}`, task, seed !== null && `seed ${seed}`, ...counts].filter(Boolean).join(" · ");
}

const NEXT = {
  sealed: "It is sealed.",
  pending: "It could not be sealed: `gapless seal` does it when the disk takes it again.",
  discarded: "It was discarded.",
  "open, client away": "Its client, on another machine, is away and may come back; its rows go on then.",
  "open, owner gone": "Its recorder is gone: `gapless recover` seals what is durable.",
};

const UNKNOWN = "Whether its devices were made safe is not known here: look at them.";

function ending(name, { state, outcome, cause, content_digest: digest, problem }, isRun) {
  return el(
    "section",
    { class: "card ended", "data-outcome": outcome },
    el("h2", {}, outcome ? `Ended: ${outcome}` : "Ended"),
    el("p", {}, marked(problem ?? NEXT[state] ?? state), cause && ` ${onceOnly(cause)}.`),
    isRun && state.startsWith("open, ") && el("p", { class: "unknown" }, el("strong", {}, UNKNOWN)),
    digest && el("p", { class: "mono muted digest" }, digest),
    state !== "discarded" && el("p", {}, opened(name)),
  );
}

/** A cause such as "emergency stop: emergency stop by the operator", without saying twice what it is. */
function onceOnly(cause) {
  const [kind, ...rest] = cause.split(": ");
  const words = rest.join(": ");
  return words.startsWith(kind) && kind !== "" ? words : cause;
}

function opened(name) {
  return el("a", { class: "button primary", href: `/sequences/${segment(name)}` }, "Open the recording");
}
