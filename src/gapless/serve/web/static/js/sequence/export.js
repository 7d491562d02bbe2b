// The tab of export: what is on screen as files, as a picture, and as lines for a terminal.

import * as api from "../core/api.js";
import { byId, el, replace } from "../core/dom.js";
import { duration } from "../core/format.js";
import { empty } from "../core/message.js";
import { copyButton } from "./clipboard.js";
import { exactTime } from "./exact.js";
import { savePicture } from "./plot_picture.js";
import { tick } from "./plot_tools.js";

const FORMATS = [
  ["csv", "CSV", "units in the header"],
  ["parquet", "Parquet", "types and units"],
  ["arrow", "Arrow IPC", "types and units, a stream"],
  ["json-all", "JSON", "all rows, int64 as text"],
];

/** Fills a panel; `whilePlotted(work)` runs `work(plots)` while the plots are on screen and drawn. */
export class Export {
  constructor(panel, { view, description, whilePlotted }) {
    Object.assign(this, { view, description, whilePlotted });
    this.node = el("div", { class: "export stack" });
    this.isWhole = false;
    replace(panel, this.node);
    for (const name of ["fields", "axis", "span"]) view.on(name, () => this.draw());
    this.draw();
  }

  /** Show the links and lines for what is on screen now. */
  draw() {
    const topics = this.#topics();
    if (topics.length === 0) {
      empty(this.node, "Nothing is plotted.", "Choose fields under Plots: what is on screen there is exported here.");
      return;
    }
    replace(this.node, this.#span(), topics.map((topic) => this.#topic(topic)), this.#picture());
  }

  // A file has whole columns: of a value inside of one, which a plot can show, the column.
  #topics() {
    const topics = new Map();
    for (const { topic, field } of this.view.fields) {
      if (this.description.topic(topic) === null) continue;
      if (!topics.has(topic)) topics.set(topic, new Set());
      topics.get(topic).add(this.description.field({ topic, field })?.column ?? field);
    }
    return [...topics].map(([topic, columns]) => ({ topic, plotted: [...columns] }));
  }

  #span() {
    const { view } = this;
    const from = exactTime(view.fromNs, view.axis, view.originNs);
    const to = exactTime(view.toNs, view.axis, view.originNs);
    const words = `From ${from} to ${to}: ${duration(view.toNs - view.fromNs)}, the end not included.`;
    const all = tick("All columns of these topics", this.isWhole, (isOn) => {
      this.isWhole = isOn;
      this.draw();
    });
    return el("div", { class: "card stack" }, el("h2", {}, "What is on screen"), el("p", {}, words), all.node);
  }

  #asked(plotted) {
    const { view } = this;
    return { columns: this.isWhole ? [] : plotted, start_ns: view.fromNs, end_ns: view.toNs };
  }

  #topic({ topic, plotted }) {
    const { path } = this.description.topic(topic);
    const asked = this.#asked(plotted);
    const links = FORMATS.map(([format, words, title]) => {
      const href = api.address(`${path}/data`, { format, ...asked });
      return el("a", { class: "button", href, title, download: true, "data-format": format }, words);
    });
    const columns = this.isWhole ? "all columns" : plotted.join(", ");
    return el(
      "section",
      { class: "card stack", "data-topic": topic },
      el("h2", {}, topic),
      el("p", { class: "muted" }, columns),
      el("div", { class: "toolbar" }, links),
      this.#line("In a terminal (STORE: the folder that is served)", this.#command(topic, plotted)),
      this.#line("From anywhere", this.#curl(path, asked)),
    );
  }

  #line(title, text) {
    const label = el("span", { class: "muted" }, title);
    const code = el("input", { class: "export-line mono", readonly: true, "aria-label": title, value: text });
    return el("div", { class: "export-lines" }, label, code, copyButton("Copy", () => text));
  }

  #command(topic, plotted) {
    const { view, description } = this;
    const columns = this.isWhole ? "" : plotted.map((column) => ` --column ${quoted(column)}`).join("");
    const span = ` --start ${view.fromNs} --end ${view.toNs}`;
    const file = `${topic.replace(/[^A-Za-z0-9._-]+/g, "_")}.csv`;
    return `gapless export ${quoted(description.name)} ${file} --topic ${quoted(topic)}${columns}${span} --store STORE`;
  }

  #curl(path, asked) {
    const place = new URL(api.address(`${path}/data`, { format: "parquet", ...asked }), location.href);
    const key = byId("caller").dataset.keys === "true" ? ' -H "Authorization: Bearer $GAPLESS_API_KEY"' : "";
    return `curl -fOJ${key} ${quoted(place.href)}`;
  }

  #picture() {
    const save = el("button", { type: "button", class: "button" }, "Save PNG");
    const take = (plots) => savePicture(plots.picture(), `${this.description.name}.png`);
    save.addEventListener("click", () => this.whilePlotted(take).then(() => save.focus()));
    return el(
      "section",
      { class: "card stack" },
      el("h2", {}, "The plots as a picture"),
      el("div", { class: "toolbar" }, save),
    );
  }
}

/** Return text as one word of a shell. */
export function quoted(text) {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
