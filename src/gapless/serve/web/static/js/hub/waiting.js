// The sessions that wait for a decision, the longest first. A card stays the same node while its session waits.

import { el, replace } from "../core/dom.js";
import { time, utc } from "../core/format.js";
import { announce, empty } from "../core/message.js";
import { stateBadge } from "../features/words.js";
import { approve, reject } from "./decision.js";
import { requestFacts, sessionName } from "./request_facts.js";

/** Shows them in a node; ``decided()`` is called after each decision. */
export class Waiting {
  constructor(node, { mayDecide, decided }) {
    this._node = node;
    this._mayDecide = mayDecide;
    this._decided = decided;
    this._cards = null; // id -> card
  }

  /** Show these sessions. */
  show(tasks) {
    const known = this._cards ?? new Map();
    const fresh = tasks.filter(({ id }) => !known.has(id));
    if (this._cards !== null && fresh.length > 0) {
      announce(`${fresh.map(sessionName).join(", ")} waits for approval.`);
    }
    const heldFocus = this._node.contains(document.activeElement);
    this._cards = new Map(tasks.map((task) => [task.id, known.get(task.id) ?? this._card(task)]));
    if (tasks.length === 0) empty(this._node, "No session waits.", "One that asks appears here by itself.");
    else this._place([...this._cards.values()]);
    document.title = `${tasks.length > 0 ? `(${tasks.length}) ` : ""}Hub · gapless`;
    if (heldFocus && !this._node.contains(document.activeElement)) document.getElementById("main").focus();
  }

  /** Put the cards in place without moving those that stand right: moving a node takes its focus. */
  _place(cards) {
    const { children } = this._node;
    const isSame = cards.length === children.length && cards.every((card, at) => card === children[at]);
    if (!isSame) replace(this._node, cards);
  }

  _card(task) {
    const name = sessionName(task);
    const act = (title, kind, decide) =>
      el(
        "button",
        {
          type: "button",
          class: `button ${kind}`,
          "aria-label": `${title} ${name}`,
          onclick: () => this._act(decide, task),
        },
        title,
      );
    return el(
      "article",
      { class: "card stack", "aria-label": name, "data-task": task.id },
      el("div", { class: "toolbar" }, el("h3", {}, name), stateBadge("running", "waits")),
      requestFacts(task, [
        ["Asked by", task.owner],
        ["Asked at", el("span", { title: utc(task.created_ns) }, time(task.created_ns))],
      ]),
      this._mayDecide
        ? el("div", { class: "toolbar" }, act("Approve", "primary", approve), act("Reject", "danger", reject))
        : el("p", { class: "hint" }, "Your key may look on. A key with the right to write decides."),
    );
  }

  async _act(decide, task) {
    if (await decide(task)) this._decided();
  }
}
