// A text field that offers completions: an ARIA combobox whose list the arrows move in. Down opens it, also where
// nothing is typed; Enter and Tab take the chosen one; Escape closes it.

import { el, freshId, on } from "../core/dom.js";
import { announce } from "../core/message.js";

const PAUSE_MS = 120;
const KINDS = { metadata: "metadata", field: "field", word: "word", function: "function", value: "value" };

/**
 * Offer completions under an <input>. ``fetchCompletions(before, {signal})`` gives {start, completions: [{text, kind,
 * hint}]} for the text before the caret: a completion replaces it from ``start``. ``onchange`` is called when one was
 * taken, ``onrefused`` with the error when there are none for a reason.
 */
export class Completion {
  constructor(input, { fetchCompletions, onchange, onrefused }) {
    this._input = input;
    this._ask = { fetchCompletions, onchange, onrefused };
    this._offered = [];
    this._start = 0;
    this._chosen = -1;
    this._stop = new AbortController();
    this._timer = 0;
    this._list = el("ul", { class: "completions", role: "listbox", id: freshId("completions"), hidden: true });
    this._list.setAttribute("aria-label", "Completions");
    for (const [name, value] of Object.entries({
      role: "combobox",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": this._list.id,
    })) {
      input.setAttribute(name, value);
    }
    input.after(this._list);
    on(input, "input", () => this._later());
    on(input, "keydown", (event) => this._pressed(event));
    on(input, "blur", () => this.close());
    on(this._list, "mousedown", (event) => this._pointed(event));
  }

  /** True while the list is open. */
  get isOpen() {
    return !this._list.hidden;
  }

  /** Close the list and forget what is on its way. */
  close() {
    clearTimeout(this._timer);
    this._stop.abort();
    this._list.hidden = true;
    this._chosen = -1;
    this._input.setAttribute("aria-expanded", "false");
    this._input.removeAttribute("aria-activedescendant");
  }

  _later() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._fetch(), PAUSE_MS);
  }

  async _fetch({ isAsked = false } = {}) {
    this._stop.abort();
    const stop = new AbortController();
    this._stop = stop;
    const before = this._input.value.slice(0, this._input.selectionStart ?? this._input.value.length);
    if ((before.trim() === "" && !isAsked) || document.activeElement !== this._input) {
      this.close();
      return;
    }
    try {
      const { start, completions } = await this._ask.fetchCompletions(before, { signal: stop.signal });
      if (!stop.signal.aborted) this._offer(start, completions, before);
    } catch (error) {
      if (stop.signal.aborted) return; // what was typed since asks again
      this.close();
      this._ask.onrefused(error);
    }
  }

  _offer(start, completions, before) {
    const isDone = completions.length === 1 && before.slice(start) === completions[0].text;
    if (completions.length === 0 || isDone) {
      this.close();
      return;
    }
    this._offered = completions;
    this._start = start;
    this._chosen = -1;
    this._list.replaceChildren(...completions.map((completion, at) => this._option(completion, at)));
    this._list.hidden = false;
    this._list.scrollTop = 0;
    this._input.setAttribute("aria-expanded", "true");
    this._input.removeAttribute("aria-activedescendant");
    announce(`${completions.length} completions`);
  }

  _option({ text, kind, hint }, at) {
    return el(
      "li",
      { role: "option", id: `${this._list.id}-${at}`, "aria-selected": "false", "data-at": at },
      el("code", {}, text.trim()),
      hint && el("span", { class: "completion-hint" }, hint),
      el("span", { class: "completion-kind" }, KINDS[kind] ?? kind),
    );
  }

  _pressed(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key === "ArrowDown" && !this.isOpen) this._fetch({ isAsked: true });
    else if (!this.isOpen) return;
    else if (event.key in steps) this._choose(this._chosen + steps[event.key]);
    else if (event.key === "Escape") this.close();
    else if ((event.key === "Enter" || event.key === "Tab") && this._chosen >= 0) this._take(this._chosen);
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  _pointed(event) {
    event.preventDefault(); // the field keeps the focus
    const at = event.target.closest("[data-at]")?.dataset.at;
    if (at !== undefined) this._take(Number(at));
  }

  /** Choose a completion, going round; -1 is the text as it was typed. */
  _choose(at) {
    const count = this._offered.length;
    this._chosen = at < -1 ? count - 1 : at >= count ? -1 : at;
    for (const [index, option] of [...this._list.children].entries()) {
      option.setAttribute("aria-selected", String(index === this._chosen));
    }
    const chosen = this._list.children[this._chosen];
    chosen?.scrollIntoView({ block: "nearest" });
    if (chosen === undefined) this._input.removeAttribute("aria-activedescendant");
    else this._input.setAttribute("aria-activedescendant", chosen.id);
  }

  _take(at) {
    const { text } = this._offered[at];
    const caret = this._input.selectionStart ?? this._input.value.length;
    this._input.setRangeText(text, this._start, caret, "end");
    this.close();
    this._ask.onchange();
    this._later(); // what can come next
  }
}
