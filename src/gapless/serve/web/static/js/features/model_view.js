// One training of a model: what it measured, what it learned from and how it went.

import { el, replace } from "../core/dom.js";
import { bytes, count, time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { metricTables } from "./metric_tables.js";
import { TrainingView } from "./training_view.js";
import { nsOf, runPlace, sequenceLink, stateBadge } from "./words.js";

/** Fill a page's places with a model as the API tells it. */
export function showModel({ facts, more }, model) {
  replace(facts, factsOf(model), metrics(model));
  const training = el("section", { class: "card stack", "aria-label": "Training" });
  replace(more, model.jobs.length > 0 && training, sides(model), model.notes && notes(model.notes), made(model));
  if (model.jobs.length > 0) new TrainingView(training, model.jobs[0]);
}

function factsOf(model) {
  return el(
    "section",
    { class: "card", "aria-label": "Facts" },
    el(
      "dl",
      { class: "facts wide" },
      fact("State", stateBadge(model.status)),
      fact("Version", model.version),
      fact("Class", model.made_by ?? "–"),
      fact("Learned from", `${count(model.sequences)} sequences`),
      model.labels.length > 0 && fact("Labels", model.labels.join(", ")),
      fact("Reads", [...model.topics, ...model.inputs.map(inputLink)].flatMap((one, at) => (at ? [", ", one] : [one]))),
      model.seed !== null && fact("Seed", String(model.seed)),
      fact("Size", bytes(model.bytes)),
      model.started_at && fact("Started", moment(model.started_at)),
      model.finished_at && fact("Finished", moment(model.finished_at)),
    ),
  );
}

function fact(name, ...value) {
  return [el("dt", {}, name), el("dd", {}, value)];
}

function moment(iso) {
  return el("span", { title: utc(nsOf(iso)) }, time(nsOf(iso)));
}

function inputLink([feature, runId]) {
  return el("a", { href: runPlace(feature, runId) }, `${feature} ${runId}`);
}

function metrics({ metrics: measured }) {
  if (measured === null) return null;
  return el(
    "section",
    { class: "card stack", "aria-label": "Metrics" },
    el("h2", {}, "Metrics"),
    metricTables(measured),
  );
}

function sides({ train, test, left_out: leftOut }) {
  return el(
    "section",
    { class: "card stack", "aria-label": "Sequences" },
    el("h2", {}, "Sequences"),
    names("Learned from", train),
    names("Tested on", test),
    leftOut.length > 0 &&
      el(
        "details",
        {},
        el("summary", {}, `Left out: ${count(leftOut.length)}`),
        el(
          "ul",
          { class: "names" },
          leftOut.map(({ sequence, why }) => el("li", {}, sequenceLink(sequence), `: ${why}`)),
        ),
      ),
  );
}

function names(title, sequences) {
  return el(
    "details",
    { open: sequences.length > 0 && sequences.length <= 12 },
    el("summary", {}, `${title}: ${count(sequences.length)}`),
    el("ul", { class: "names" }, sequences.map((name) => el("li", {}, sequenceLink(name)))),
  );
}

function notes(text) {
  return el(
    "section",
    { class: "card", "aria-label": "Notes" },
    el("h2", {}, "Notes"),
    el("pre", { class: "traceback", tabindex: "0" }, text),
  );
}

function made({ config, environment }) {
  return el(
    "section",
    { class: "card stack", "aria-label": "Configuration" },
    el("h2", {}, "Configuration"),
    el("pre", { class: "traceback", tabindex: "0" }, stringify(config, null, 2)),
    environment !== null &&
      el(
        "details",
        {},
        el("summary", {}, "Made with"),
        el("pre", { class: "traceback", tabindex: "0" }, stringify(environment, null, 2)),
      ),
  );
}
