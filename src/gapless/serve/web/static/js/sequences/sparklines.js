// The small curve beside each sequence: fetched when its row comes on screen, kept for as long as it is true.

import { frame, isAborted, segment } from "../core/api.js";
import { svg } from "../core/dom.js";

const WIDTH = 96;
const HEIGHT = 22;
const AT_ONCE = 4;
const KEPT = 600;
const LIVE_MS = 10_000; // how old the curve of a sequence that grows may be

/** Curves by sequence: four are asked for at a time, none twice, and none of a row that scrolled away. */
export class Sparklines {
  constructor() {
    this._kept = new Map(); // name -> {stamp, curve, since}
    this._asked = new Map(); // name -> {stamp, places}, waiting or on its way
    this._waiting = [];
    this._running = 0;
  }

  /** Return a node that shows the curve of a sequence of the list once it is here. */
  node({ name, rows, live, state }) {
    const place = svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    const stamp = JSON.stringify([rows, state, live]);
    const kept = this._kept.get(name);
    if (kept !== undefined) {
      this._keep(name, kept);
      show(place, kept.curve); // that of a moment ago, until there is one that has the newest rows
    }
    const isYoung = live && kept !== undefined && performance.now() - kept.since < LIVE_MS;
    if (kept?.stamp !== stamp && !isYoung) this._want(name, stamp, place);
    return place;
  }

  _want(name, stamp, place) {
    const asked = this._asked.get(name);
    if (asked !== undefined) {
      asked.places.push(place);
      return;
    }
    this._asked.set(name, { stamp, places: [place] });
    this._waiting.push(name);
    queueMicrotask(() => this._next()); // by then the row is in the document
  }

  async _next() {
    if (this._running >= AT_ONCE || this._waiting.length === 0) return;
    const name = this._waiting.shift();
    const asked = this._asked.get(name);
    this._running += 1;
    try {
      if (asked.places.some((place) => place.isConnected)) await this._draw(name, asked);
    } finally {
      this._asked.delete(name);
      this._running -= 1;
      this._next();
    }
  }

  async _draw(name, { stamp, places }) {
    try {
      const curve = curveOf(await frame(`/sequences/${segment(name)}/sparkline`));
      this._keep(name, { stamp, curve, since: performance.now() });
      for (const place of places) show(place, curve);
    } catch (error) {
      if (isAborted(error)) return; // the page is being left
      for (const place of places) place.setAttribute("data-refused", error.message); // its own page says what is wrong
    }
  }

  _keep(name, kept) {
    this._kept.delete(name); // the one used last is the last to be forgotten
    this._kept.set(name, kept);
    if (this._kept.size > KEPT) this._kept.delete(this._kept.keys().next().value);
  }
}

/**
 * Return {title, xs, lows, highs, means} of a frame with one curve, null when the sequence has no number to draw.
 * Integers are counted from their least, since beyond 2^53 a float64 no longer tells them apart.
 */
export function curveOf({ header, columns }) {
  const [field] = header.fields;
  if (field === undefined) return null;
  const isRows = field.kind === "rows";
  const [xs, lows, highs] = (isRows ? ["time", "value", "value"] : ["start", "min", "max"]).map((name) =>
    columns.get(`0.${name}`),
  );
  const least = lows instanceof BigInt64Array || lows instanceof BigUint64Array ? leastOf(lows) : null;
  const above = (values) => Array.from(values, (value) => (least === null ? Number(value) : Number(value - least)));
  const middle = columns.get("0.mean_above") ?? columns.get("0.mean");
  const means = isRows ? above(highs) : Array.from(middle);
  return { title: `${field.topic} ${field.field}`, xs, lows: above(lows), highs: above(highs), means };
}

function leastOf(values) {
  return values.reduce((low, value) => (value < low ? value : low), values[0] ?? 0n);
}

function show(place, curve) {
  if (curve === null || curve.xs.length === 0) return;
  const low = Math.min(...curve.lows.filter(Number.isFinite));
  const high = Math.max(...curve.highs.filter(Number.isFinite));
  if (!Number.isFinite(low) || !Number.isFinite(high)) return;
  const first = curve.xs[0];
  const length = curve.xs[curve.xs.length - 1] - first || 1;
  const x = (at) => (1 + ((curve.xs[at] - first) / length) * (WIDTH - 2)).toFixed(1);
  const height = (value) => (high === low ? 0.5 : (value - low) / (high - low));
  const y = (value) => (HEIGHT - 2 - height(value) * (HEIGHT - 4)).toFixed(1);
  const point = (value, at) => `${x(at)} ${y(value)}`;
  const points = curve.highs.map(point).concat(curve.lows.map(point).reverse());
  const band = points.filter((text) => !/NaN|Infinity/.test(text)).join(" ");
  place.replaceChildren(
    svg("title", {}, curve.title),
    svg("polygon", { class: "sparkline-band", points: band }),
    svg("path", { class: "sparkline-line", d: path(curve.means, point) }),
  );
}

/** Return the path through values; one that is not finite leaves it open there. */
function path(values, point) {
  let isDown = false;
  return values
    .map((value, at) => {
      const step = Number.isFinite(value) ? `${isDown ? "L" : "M"}${point(value, at)}` : "";
      isDown = step !== "";
      return step;
    })
    .join("");
}
