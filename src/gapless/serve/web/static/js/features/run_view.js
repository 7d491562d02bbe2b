// One run of a feature: what it is, what it was made with, its entries and what failed.

import { get, segment } from "../core/api.js";
import { el, freshId, replace } from "../core/dom.js";
import { bytes, count, duration, time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { linkOf } from "../sequence/view.js";
import { pagedTable } from "./paged_table.js";
import { countsText, nsOf, sequenceLink, stateBadge } from "./words.js";

/** Fill a page's places with a run as the API tells it. */
export function showRun({ facts, more }, run) {
  replace(facts, factsOf(run), run.params !== null && parameters(run.params));
  const entries = el("section", { class: "card stack", "aria-label": "Entries" });
  replace(more, entries, run.failures.length > 0 && failures(run.failures));
  showEntries(entries, run);
}

function factsOf(run) {
  return el(
    "section",
    { class: "card", "aria-label": "Facts" },
    el(
      "dl",
      { class: "facts wide" },
      fact("State", stateBadge(run.state)),
      fact("Version", run.version),
      fact("Entries", countsText({ ok: run.ok, empty: run.empty, failed: run.failed }) || "none"),
      fact("Output", `${count(run.rows)} rows, ${bytes(run.bytes)}`),
      fact("Topic", el("span", { class: "mono" }, run.topic)),
      fact("Columns", run.fields.map(({ name, type }) => `${name} (${type})`).join(", ") || "none yet"),
      fact("Started", moment(nsOf(run.started_at))),
      run.finished_at && fact("Finished", moment(nsOf(run.finished_at))),
      run.recorded_ns && fact("Last output", moment(run.recorded_ns)),
      run.code && fact("Source code", el("span", { class: "mono" }, run.code.slice(0, 16))),
      run.accepted.length > 0 &&
        fact("Accepted code", run.accepted.map((change) => el("div", { class: "mono" }, change))),
      run.state_digest && fact("Learned state", el("span", { class: "mono" }, run.state_digest.slice(0, 16))),
    ),
  );
}

function fact(name, ...value) {
  return [el("dt", {}, name), el("dd", {}, value)];
}

function moment(ns) {
  return el("span", { title: utc(ns) }, time(ns));
}

function parameters(params) {
  const isTable = typeof params === "object" && !Array.isArray(params);
  return el(
    "section",
    { class: "card", "aria-label": "Parameters" },
    el("h2", {}, "Parameters"),
    isTable
      ? el("dl", { class: "facts" }, Object.entries(params).map(([name, value]) => fact(name, said(value))))
      : el("p", {}, said(params)),
  );
}

function said(value) {
  return el("span", { class: "mono" }, typeof value === "string" ? value : stringify(value));
}

function showEntries(node, run) {
  const id = freshId("status");
  const rows = el("div");
  const options = ["failed", "ok", "empty"].map((status) => el("option", { value: status }, status));
  const choice = el("select", { id, onchange: () => table.reload() }, el("option", { value: "" }, "all"), options);
  replace(
    node,
    el(
      "div",
      { class: "toolbar" },
      el("h2", {}, "Entries"),
      el("div", { class: "field row push" }, el("label", { for: id }, "Status"), choice),
    ),
    rows,
  );
  const path = `/features/runs/${segment(run.feature)}/${segment(run.run_id)}/entries`;
  const table = pagedTable(rows, {
    label: "Entries of the run",
    columns: columnsOf(run),
    rowName: ({ sequence }) => sequence,
    whenEmpty: ["No entry stands so.", "Choose another status above."],
    fetchPage: async (cursor) => {
      const { entries, next_cursor: next } = await get(path, { cursor, status: choice.value });
      return { rows: entries, next };
    },
  });
}

function columnsOf(run) {
  return [
    { title: "Sequence", render: ({ sequence }) => entryLink(sequence) },
    { title: "Group", render: ({ group }) => group ?? "–" },
    { title: "Status", render: ({ status }) => stateBadge(status, status) },
    { title: "Rows", align: "end", render: ({ rows }) => count(rows) },
    { title: "Size", align: "end", render: ({ bytes: size }) => bytes(size) },
    { title: "Took", align: "end", render: ({ elapsed_s: seconds }) => duration(BigInt(Math.round(seconds * 1e9))) },
    { title: "Output", render: (entry) => outcome(run, entry) },
  ];
}

/** A feature without inputs has one entry, which belongs to no sequence. */
function entryLink(sequence) {
  return sequence === "__global__" ? "all together" : sequenceLink(sequence);
}

function outcome(run, entry) {
  if (entry.status === "failed") return `${entry.error_type}: ${entry.error}`;
  if (entry.rows === 0 || entry.start_ns === null) return "";
  const isNumeric = ({ name, type }) => /^(u?int|float|double|half)/.test(type) && name !== "timestamp_ns";
  const field = run.fields.find(isNumeric);
  if (field === undefined) return "";
  const asked = new URLSearchParams({ tab: "plots", fields: linkOf({ topic: run.topic, field: field.name }) });
  return el("a", { href: `/sequences/${encodeURIComponent(entry.sequence)}?${asked}` }, "plot");
}

function failures(lines) {
  return el(
    "section",
    { class: "card stack", "aria-label": "Failures" },
    el("h2", {}, "Failures, the newest first"),
    lines.map(({ sequence, recorded_ns: recordedNs, type, message, traceback }) =>
      el(
        "details",
        {},
        el("summary", {}, `${time(recordedNs)} ${sequence}: ${type}: ${message}`),
        el("pre", { class: "traceback", tabindex: "0" }, traceback ?? ""),
      ),
    ),
  );
}
