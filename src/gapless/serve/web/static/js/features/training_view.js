// One training while it goes on: the curves of its metrics, how far it is, and what it said.

import { events, get, segment } from "../core/api.js";
import { lineChart, palette } from "../core/bokeh_plot.js";
import { el, freshId, replace } from "../core/dom.js";
import { time, value } from "../core/format.js";
import { announce, busy, failed, failure } from "../core/message.js";
import { onSetting } from "../core/settings.js";
import { Progress } from "./progress.js";
import { nsOf, runPlace, stateBadge } from "./words.js";

const DRAW_MS = 200; // curves are drawn at most this often
const SHOWN_NOTES = 100;

/** Follows a training in a node until it ends or close() is called. */
export class TrainingView {
  constructor(node, jobId) {
    this._node = node;
    this._jobId = jobId;
    this._progress = new Progress();
    this._hidden = new Set();
    this._chart = null;
    this._isOver = false;
    busy(node, "Reading the training…");
    this._begin();
    this._unset = onSetting("theme", () => this._plan());
  }

  /** Stop following; the node may be used for something else. */
  close() {
    this._isOver = true;
    this._end?.();
    this._unset?.();
    this._chart?.remove();
    clearTimeout(this._timer);
  }

  async _begin() {
    try {
      const job = await get(`/jobs/${segment(this._jobId)}`, { limit: 1 });
      if (this._isOver) return;
      this._build(job);
      this._follow();
    } catch (error) {
      if (!this._isOver) failed(this._node, error, () => this._begin());
    }
  }

  _follow() {
    this._end = events(`/jobs/${segment(this._jobId)}/stream`, {
      progress: (event) => this._take(event),
      end: (job) => this._finish(job),
      refused: (error) => this._refuse(error),
      open: () => this._mark(""),
      lost: (isForGood) => !isForGood && this._mark("the connection broke, trying again…"),
    });
  }

  _build(job) {
    this._head = el("div", { class: "stack" });
    this._words = el("p", { class: "muted", role: "status" });
    this._legend = el("fieldset", { class: "legend" }, el("legend", {}, "Metrics"));
    this._legend.hidden = true;
    this._plot = el("div", { class: "plot" });
    this._notes = el("ol", { class: "notes", tabindex: "0", "aria-label": "What it said" });
    replace(
      this._node,
      this._head,
      this._words,
      this._legend,
      this._plot,
      el("details", { open: true }, el("summary", {}, "What it said"), this._notes),
    );
    this._tell(job);
  }

  _tell(job) {
    const model = job.model && el("a", { href: runPlace(job.model, job.run_id, true) }, `${job.model} ${job.run_id}`);
    replace(
      this._head,
      el("div", { class: "toolbar" }, el("h3", {}, job.job_id), stateBadge(job.state)),
      el(
        "p",
        { class: "muted" },
        model || "It did not say which model it trains.",
        ` · began ${time(nsOf(job.started_at))}`,
      ),
    );
  }

  _take(event) {
    this._progress.add(event);
    this._plan();
  }

  _finish(job) {
    this._end();
    this._tell(job);
    this._mark("");
    announce(`The training is ${job.state}.`);
  }

  _refuse(error) {
    this._end();
    replace(this._words, failure(error));
  }

  _mark(words) {
    this._told = words;
    this._plan();
  }

  _plan() {
    this._timer ??= setTimeout(() => {
      this._timer = undefined;
      if (!this._isOver) this._draw();
    }, DRAW_MS);
  }

  _draw() {
    if (!this._plot) return;
    replace(this._words, [this._progress.words, this._told].filter(Boolean).join(" · "));
    const notes = this._progress.notes.slice(-SHOWN_NOTES);
    replace(
      this._notes,
      notes.map(({ timestamp, words }) => el("li", {}, el("time", {}, time(nsOf(timestamp))), ` ${words}`)),
    );
    const { names } = this._progress;
    if (names.length === 0) return;
    this._drawLegend(names);
    const shown = names.filter((name) => !this._hidden.has(name));
    const series = this._progress.series(shown);
    if (this._chart === null) this._chart = lineChart(this._plot, { height: 280, xLabel: "epoch", series });
    else this._chart.setLines(series);
    this._plot.dataset.points = String(series.reduce((most, { x }) => Math.max(most, x.length), 0));
  }

  /** Show each metric with its colour and newest value; the colours are those in which the chart draws them. */
  _drawLegend(names) {
    this._legend.hidden = false;
    const colours = palette().series;
    const shown = names.filter((name) => !this._hidden.has(name));
    for (const name of names) {
      const entry = this._entry(name);
      const at = shown.indexOf(name);
      entry.swatch.style.background = at < 0 ? "transparent" : colours[at % colours.length];
      entry.value.textContent = value(this._progress.latest(name));
    }
  }

  _entry(name) {
    this._entries ??= new Map();
    if (!this._entries.has(name)) this._entries.set(name, this._newEntry(name));
    return this._entries.get(name);
  }

  _newEntry(name) {
    const id = freshId("metric");
    const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
    const number = el("span", { class: "mono" });
    const box = el("input", { type: "checkbox", id, checked: true, onchange: () => this._toggle(name, box.checked) });
    this._legend.append(el("label", { for: id, "data-metric": name }, box, swatch, ` ${name} `, number));
    return { swatch, value: number };
  }

  _toggle(name, isShown) {
    if (isShown) this._hidden.delete(name);
    else this._hidden.add(name);
    this._draw();
  }
}
