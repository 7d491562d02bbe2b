// Check and verify on request: what was found, what it means and what to do about it.

import * as api from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count, duration } from "../core/format.js";
import { busy, failed } from "../core/message.js";
import { plainTable } from "./plain_table.js";
import { quoted } from "./export.js";

const VERDICTS = { good: "ok", doubtful: "warn", bad: "bad" };
const SEVERITIES = { error: "bad", problem: "bad", warning: "warn", info: "ok" };

/** Return a card that checks and verifies a sequence. */
export function examination(description) {
  const told = el("div", { class: "stack", role: "status" });
  const name = quoted(description.name);
  const ask = async (words, path, show) => {
    busy(told, words);
    try {
      replace(told, show(await api.get(`${description.path}/${path}`)));
    } catch (error) {
      failed(told, error, () => ask(words, path, show));
    }
  };
  const check = () => ask("Reading every row…", "check", (report) => checkReport(report, name));
  const verify = () => ask("Comparing digests…", "verify", (report) => verifyReport(report, name));
  const deep = () => ask("Reading every byte…", "verify?deep=true", (report) => verifyReport(report, name));
  const button = (words, title, onclick) => el("button", { type: "button", class: "button", title, onclick }, words);
  const bar = el(
    "div",
    { class: "toolbar" },
    button("Check", "Is what was recorded good? Rates, gaps, dead columns", check),
    button("Verify", "Are the bytes what was written?", verify),
    button("Verify every row", "Reads everything again", deep),
  );
  return el("section", { class: "card stack" }, el("h2", {}, "Examination"), bar, told);
}

function checkReport(report, name) {
  const words = { good: "Good: nothing to worry about.", doubtful: "Doubtful.", bad: "Bad." };
  const rows = Object.entries(report.topics).map(([topic, figures]) => ({ topic, ...figures }));
  const columns = [
    { title: "Topic", render: (row) => row.topic },
    { title: "Rows", render: (row) => count(row.rows), align: "end" },
    { title: "Rate", render: (row) => (row.rate_hz === null ? "–" : `${row.rate_hz.toPrecision(4)}/s`), align: "end" },
    { title: "Longest pause", render: (row) => duration(row.interval_max_ns), align: "end" },
    { title: "Missing", render: (row) => count(row.missing), align: "end" },
    { title: "Dropped", render: (row) => count(row.dropped), align: "end" },
    { title: "Judged", render: (row) => badge(VERDICTS[row.verdict], row.verdict) },
  ];
  return [
    verdict(VERDICTS[report.verdict], words[report.verdict]),
    findings(report.findings),
    plainTable("Figures of the topics", columns, rows),
    el("p", { class: "hint" }, "In a terminal: ", el("code", {}, `gapless check ${name}`)),
  ];
}

function verifyReport(report, name) {
  const words = report.sound ? "Sound: every byte is as it was written." : "Not as it was written.";
  const isBad = report.findings.some(({ severity }) => severity === "error");
  const next = isBad
    ? "Copy the sequence from a backup; what is damaged stays readable except for the rows that are named."
    : null;
  return [
    verdict(report.sound ? "ok" : isBad ? "bad" : "warn", words),
    findings(report.findings),
    next && el("p", {}, next),
    el("p", { class: "hint" }, "In a terminal: ", el("code", {}, `gapless verify ${name} --deep`)),
  ];
}

function verdict(level, words) {
  return el("p", { class: "verdict" }, badge(level, { ok: "ok", warn: "look", bad: "bad" }[level]), ` ${words}`);
}

function badge(level, words) {
  return el("span", { class: "badge", "data-level": level }, words);
}

function findings(found) {
  if (found.length === 0) return null;
  const items = found.map((finding) => {
    const place = [finding.topic, finding.file, finding.rows && `rows ${finding.rows.join(" to ")}`].filter(Boolean);
    const code = el("code", { title: `gapless explain ${finding.code}` }, finding.code);
    const where = place.length ? el("span", { class: "muted" }, ` ${place.join(", ")}`) : null;
    const means = finding.means ? el("p", { class: "muted" }, finding.means) : null;
    const level = badge(SEVERITIES[finding.severity], finding.severity);
    return el("li", {}, level, " ", code, where, el("p", {}, finding.message), means);
  });
  return el("ul", { class: "findings" }, items);
}
