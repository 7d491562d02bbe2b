// The span on screen and the cursor in words, exact to the last nanosecond.

import { el } from "../core/dom.js";
import { duration, utc } from "../core/format.js";
import { exactTime } from "./exact.js";

const EXACT_NS = 2n ** 53n; // 104 days: offsets beyond are no longer whole ns

/** Return nodes that say what is shown and where the cursor is. */
export function spanWords(view) {
  const isCoarse = view.toNs - view.fromNs > EXACT_NS;
  const shown = `${duration(view.toNs - view.fromNs)} from ${exactTime(view.fromNs, view.axis, view.originNs)}`;
  const span = el("span", { class: "plots-span", title: `${utc(view.fromNs)} to ${utc(view.toNs)}` }, shown);
  const coarse = isCoarse ? [" ", el("span", { class: "hint" }, "Over so long a span times are read to some ns.")] : [];
  if (view.cursorNs === null) return [span, coarse];
  const at = exactTime(view.cursorNs, view.axis, view.originNs);
  const cursor = el("span", { class: "plots-cursor", title: `${view.cursorNs} ns` }, `Cursor ${at}`);
  return [span, " ", cursor, coarse];
}
