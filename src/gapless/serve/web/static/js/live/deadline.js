// The countdown to a safe shutdown: which queue or disk holds the run up, and how long it still may.

import { el, replace } from "../core/dom.js";
import { count } from "../core/format.js";

/** Fill a node. Returns a function that shows a status. */
export function deadline(node) {
  const words = el("p", { class: "deadline-words" });
  const bar = el("progress", { class: "deadline-bar", max: 1, value: 0, "aria-label": "time used of the deadline" });
  const disk = el("p", { class: "muted" });
  replace(node, words, bar, disk);
  return ({ saturation, writer }) => {
    const held = saturation?.worst ? saturation : null;
    bar.hidden = held === null;
    node.dataset.level = held === null ? "ok" : held.held_s > held.deadline_s / 2 ? "bad" : "warn";
    words.textContent =
      held === null
        ? `Everything keeps up. Held up for ${saturation?.deadline_s ?? "…"} s, the run makes its devices safe and ends.`
        : `${held.worst} is held: ${Math.max(0, held.deadline_s - held.held_s).toFixed(1)} s to the safe shutdown`;
    bar.value = held === null ? 0 : Math.min(1, held.held_s / held.deadline_s);
    const waiting = writer?.waiting_rows;
    disk.textContent = waiting === null || waiting === undefined ? "" : `${count(waiting)} rows are not durable yet`;
  };
}
