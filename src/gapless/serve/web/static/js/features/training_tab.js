// Trainings that tell of their progress: a list, and the one that the address names.

import { get } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count, time } from "../core/format.js";
import { stringify } from "../core/json.js";
import { empty, failed } from "../core/message.js";
import { onReturn, read, write } from "../core/place.js";
import { repeating } from "./repeating.js";
import { TrainingView } from "./training_view.js";
import { nsOf, stateBadge } from "./words.js";

const EVERY_MS = 3000;

/** Fills a panel. */
export class TrainingTab {
  constructor(panel) {
    this._panel = panel;
    this._list = el("div", { class: "table-scroll", role: "region", "aria-label": "Trainings", tabindex: "0" });
    this._detail = el("section", { class: "card stack", "aria-label": "Training" });
    this._detail.hidden = true;
    this._jobs = [];
    this._shownId = null;
    onReturn(() => this._asking && this._choose());
  }

  /** Begin to follow the list, and the training of the address. */
  show() {
    this._asking = repeating(() => this._ask(), EVERY_MS, (error) => this._refuse(error));
    this._choose();
  }

  /** Stop asking, and leave the training. */
  hide() {
    this._asking?.stop();
    this._asking = null;
    this._leave();
  }

  async _ask() {
    const { jobs } = await get("/jobs");
    const text = stringify(jobs);
    if (text === this._text) return;
    this._text = text;
    this._jobs = jobs;
    this._draw();
  }

  _draw() {
    if (this._jobs.length === 0) {
      empty(
        this._panel,
        "No training has told of its progress yet.",
        el("p", {}, el("code", {}, "gapless features run PIPELINE"), " does for the models of a pipeline."),
      );
      return;
    }
    if (!this._panel.contains(this._list)) {
      replace(this._panel, el("div", { class: "stack" }, this._list, this._detail));
    }
    const focused = document.activeElement?.dataset?.job;
    const heads = ["Training", "State", "Events", "Last"].map((title) => el("th", { scope: "col" }, title));
    replace(
      this._list,
      el(
        "table",
        { class: "plain-table" },
        el("thead", {}, el("tr", {}, heads)),
        el("tbody", {}, this._jobs.map((job) => this._row(job))),
      ),
    );
    this._list.querySelector(`[data-job="${CSS.escape(focused ?? "")}"]`)?.focus();
    this._choose();
  }

  _row(job) {
    const isShown = job.job_id === this._wanted();
    return el(
      "tr",
      { "aria-current": isShown ? "true" : null },
      el(
        "td",
        {},
        el(
          "button",
          {
            type: "button",
            class: "as-link",
            "data-job": job.job_id,
            "aria-pressed": String(isShown),
            onclick: () => this._open(job.job_id),
          },
          job.job_id,
        ),
      ),
      el("td", {}, stateBadge(job.state)),
      el("td", {}, count(job.events)),
      el("td", { class: "when" }, time(nsOf(job.last_at))),
    );
  }

  _open(jobId) {
    write({ job: jobId }, { push: true });
    this._draw();
  }

  /** The training of the address, else the first one of the list. */
  _wanted() {
    return read().get("job") ?? this._jobs[0]?.job_id ?? null;
  }

  _choose() {
    const wanted = this._wanted();
    if (wanted === this._shownId || !this._panel.contains(this._detail)) return;
    this._leave();
    if (wanted === null) return;
    this._shownId = wanted;
    this._detail.hidden = false;
    this._view = new TrainingView(this._detail, wanted);
  }

  _leave() {
    this._view?.close();
    this._view = null;
    this._shownId = null;
  }

  _refuse(error) {
    if (this._jobs.length === 0) failed(this._panel, error, () => this._asking?.now());
  }
}
