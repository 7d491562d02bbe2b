// Labels on time spans: ask for a name, save, list, jump to, delete.

import { ask } from "../core/dialog.js";
import { el, replace } from "../core/dom.js";
import { duration, utc } from "../core/format.js";
import { failed, toast } from "../core/message.js";
import { author, chooseAuthor } from "../core/settings.js";
import { exactTime, secondsText, typedTime } from "./exact.js";

const MOST_LISTED = 200;
const SLACK = 20n; // a span drawn by hand may overhang by a twentieth of the recording
const ROOM = 4n; // the span shown around a label is as many times as long, halved on each side

/** A list of the labels in `node`, and the dialog that makes one. */
export class Labels {
  constructor(node, view, marks, { onlook }) {
    Object.assign(this, { node, view, marks, onlook });
    marks.on(() => this.#draw());
    view.on("axis", () => this.#draw());
    this.#draw();
  }

  /** Ask for the name of a span and save it; resolves when the dialog is closed. */
  async make({ startNs, endNs }) {
    if (document.body.dataset.may === "read") {
      toast("Your key may read, and not label", "warn");
      return;
    }
    const { view } = this;
    const since = (ns) => secondsText(ns - view.originNs);
    const when = "seconds since the start, ns since 1970, or a date and time";
    const asked = { doubted: null };
    const made = await ask({
      title: "Label this span",
      confirm: "Save",
      fields: [
        { name: "label", label: "Name", required: true },
        { name: "from", label: "From", value: since(startNs), required: true, hint: when },
        { name: "to", label: "To", value: since(endNs), required: true },
        { name: "kind", label: "Kind", value: "label", required: true },
        { name: "author", label: "Your name (may stay empty)", value: author() },
      ],
      work: (values) => this.#save(values, asked),
    });
    if (made === null) return;
    const { warnings } = made.result;
    toast([`Saved ${made.values.label}`, ...warnings].join("; "), warnings.length > 0 ? "warn" : "ok");
  }

  #save({ label, from, to, kind, author: by }, asked) {
    const [startNs, endNs] = [this.#time("From", from), this.#time("To", to)];
    if (endNs < startNs) throw new SpanError("The span ends before it begins.", `${from} to ${to}`, "exchange them");
    this.#doubt({ startNs, endNs, words: `${from} to ${to}` }, asked);
    chooseAuthor(by.trim());
    return this.marks.add({ startNs, endNs, label: label.trim(), kind: kind.trim(), author: by.trim() });
  }

  // A slip of the pen in a time would paint the whole plot: such a span is saved when it is asked for twice.
  #doubt({ startNs, endNs, words }, asked) {
    const { view } = this;
    const slack = (view.endNs - view.startNs) / SLACK;
    const fits = startNs >= view.startNs - slack && endNs <= view.endNs + slack;
    if (fits || asked.doubted === words) return;
    asked.doubted = words;
    const known = `${secondsText(view.startNs - view.originNs)} to ${secondsText(view.endNs - view.originNs)} s`;
    const beside = endNs < view.startNs || startNs > view.endNs;
    const lies = beside ? "lies outside of the recording" : "reaches beyond the recording";
    throw new SpanError(`The span ${lies}.`, words, "correct it, or press Save again to keep it as it is", known);
  }

  #time(name, text) {
    const ns = typedTime(text, this.view.originNs);
    if (ns === null) throw new SpanError(`${name} is no time.`, text, "type seconds such as 12.5");
    return ns;
  }

  #draw() {
    const { labels, error } = this.marks;
    const act = { type: "button", "data-needs": "write" };
    const add = el("button", { ...act, class: "button", onclick: () => this.#typed() }, "Add…");
    const told = el("div");
    if (error !== null) failed(told, error, () => this.marks.load());
    const items = labels.slice(0, MOST_LISTED).map((label) => this.#item(label));
    const hint = el("p", { class: "hint" }, "Draw one in a plot after “Draw label”, or add it by its times.");
    const more = labels.length > MOST_LISTED ? el("p", { class: "hint" }, `of ${labels.length}`) : null;
    const head = el("div", { class: "toolbar" }, el("h2", {}, "Labels"), el("span", { class: "push" }, add));
    const list = items.length ? el("ul", { class: "labels-list" }, items) : hint;
    replace(this.node, head, told, list, more);
  }

  #typed() {
    const { view } = this;
    return this.make({ startNs: view.fromNs, endNs: view.toNs });
  }

  #item(label) {
    const { axis, originNs } = this.view;
    const kind = label.kind === "label" ? null : label.kind;
    const about = [kind, label.author, confidence(label), `for ${duration(label.endNs - label.startNs)}`];
    const jump = el("button", { type: "button", class: "link", onclick: () => this.#look(label) }, label.name);
    const remove = el(
      "button",
      {
        type: "button",
        class: "button quiet",
        "data-needs": "write",
        "aria-label": `Delete ${label.name}`,
        onclick: () => this.#ask(label),
      },
      "×",
    );
    const when = el("span", { title: utc(label.startNs) }, exactTime(label.startNs, axis, originNs));
    const words = el("div", { class: "labels-words" }, jump, el("div", { class: "labels-when" }, when));
    words.append(el("div", { class: "labels-when" }, about.filter(Boolean).join(", ")));
    return el("li", { "data-label": label.id }, words, remove);
  }

  #look(label) {
    const room = ((label.endNs - label.startNs) * (ROOM - 1n)) / 2n || 500_000_000n;
    this.view.setSpan(label.startNs - room, label.endNs + room, { push: true });
    this.view.setCursor(label.startNs);
    this.onlook();
  }

  async #ask(label) {
    const gone = await ask({
      title: `Delete ${label.name}?`,
      words: "Its line in the file of labels stays, with a line that takes it back.",
      confirm: "Delete",
      danger: true,
      work: () => this.marks.remove(label),
    });
    if (gone !== null) toast(`Deleted ${label.name}`);
  }
}

function confidence({ confidence: share }) {
  return share === null || share === undefined ? null : `${Math.round(share * 100)} %`;
}

/** What a person typed that is no span: shown as a refusal of the server would be. */
class SpanError extends Error {
  constructor(message, found, next, expected = null) {
    super(message);
    Object.assign(this, { found, next, expected });
  }
}
