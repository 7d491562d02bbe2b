// One field's numbers as a frame brought them, and what lies under the cursor: exactly, or the bucket that holds it.

import { extremes } from "../core/bokeh_plot.js";
import { offsetOf, timeAt } from "../core/frame.js";
import { firstAtLeast, lastAtMost, nearest, numberText } from "./exact.js";

const EXACT = 2n ** 53n;

/** Return the curves of a frame in the order they were asked for; `originNs` is where drawn offsets begin. */
export function curvesOf(frame, originNs) {
  const shift = offsetOf(originNs, frame.baseNs);
  return frame.header.fields.map((about, n) => {
    const column = (name) => frame.columns.get(`${n}.${name}`);
    const made = about.kind === "rows" ? new RowCurve(about, column) : new BucketCurve(about, column);
    made.baseNs = frame.baseNs;
    made.shift = shift;
    return made;
  });
}

/** Return numbers or BigInts as what is drawn; BigInts as their distance from `above`. */
export function drawn(values, above = 0n) {
  return isWhole(values) ? Float64Array.from(values, (value) => Number(value - above)) : Float64Array.from(values);
}

/** Return the uncertainty that every value of a field has, as it was declared; null for none, or words. */
export function fixedSpread({ uncertainty }) {
  const text = uncertainty?.trim() ?? "";
  return text !== "" && Number.isFinite(Number(text)) ? Math.abs(Number(text)) : null;
}

/** True when a curve has a number that can be drawn. */
export function hasValue(curve) {
  const { y, low = [] } = curve.points();
  const [least, greatest] = extremes([y, low]);
  return least <= greatest;
}

function isWhole(values) {
  return values instanceof BigInt64Array || values instanceof BigUint64Array;
}

// Integers beyond 2**53 look equal as floats; drawn above the least of them they do not. Null for all others.
function leastOfLarge(values) {
  if (!isWhole(values) || values.length === 0) return null;
  let [least, greatest] = [values[0], values[0]];
  for (const value of values) {
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  return -least > EXACT || greatest > EXACT ? least : null;
}

function moved(offsets, shift) {
  return Float64Array.from(offsets, (offset) => offset + shift);
}

/** Every row of the span: `time` offsets and `value`. */
class RowCurve {
  constructor(about, column) {
    this.about = about;
    this.exact = true;
    this.times = column("time");
    this.values = column("value");
    this.uncertainties = column("uncertainty") ?? null;
    this.least = leastOfLarge(this.values);
    this.above = 0n;
  }

  get rows() {
    return this.times.length;
  }

  /** Draw integers as their distance from this one. */
  drawAbove(above) {
    this.above = above;
    this.shown = null;
  }

  /** What is drawn: `{x, y}` and, where the field has an uncertainty, `low` and `high`. */
  points() {
    this.shown ??= this.#points();
    return this.shown;
  }

  #points() {
    const x = moved(this.times, this.shift);
    const y = drawn(this.values, this.above);
    const around = this.#spread();
    if (around === null) return { x, y };
    return { x, y, low: y.map((value, n) => value - around(n)), high: y.map((value, n) => value + around(n)) };
  }

  #spread() {
    if (this.uncertainties) return (n) => Number(this.uncertainties[n]);
    const fixed = fixedSpread(this.about);
    return fixed === null ? null : () => fixed;
  }

  /** Lowest and highest number in the span of drawn offsets. */
  reach(from, to) {
    const { x, y, low = [], high = [] } = this.points();
    const seen = (list) => list.filter((_, n) => x[n] >= from && x[n] <= to);
    return extremes([seen(y), seen(Float64Array.from(low)), seen(Float64Array.from(high))]);
  }

  /** What the row nearest to a time says: `{text, ns, index, uncertainty}`, null without rows. */
  at(ns) {
    const index = nearest(this.times, offsetOf(this.baseNs, ns));
    if (index < 0) return null;
    const text = numberText(this.values[index], this.about.type);
    const declared = this.about.uncertainty ?? null;
    const spread = this.uncertainties ? numberText(this.uncertainties[index], "double") : declared;
    return { exact: true, text, ns: timeAt(this.baseNs, this.times[index]), index, uncertainty: spread };
  }

  /** The time of the next row in a direction (1 or -1) from a time, null if there is none. */
  step(ns, direction) {
    const at = offsetOf(this.baseNs, ns);
    const index = direction > 0 ? lastAtMost(this.times, at) + 1 : firstAtLeast(this.times, at) - 1;
    return index >= 0 && index < this.times.length ? timeAt(this.baseNs, this.times[index]) : null;
  }
}

/** Buckets of rows: `start` and `end` offsets, least, greatest and mean value, count of rows. */
class BucketCurve {
  constructor(about, column) {
    this.about = about;
    this.exact = false;
    [this.starts, this.ends] = [column("start"), column("end")];
    [this.lows, this.highs] = [column("min"), column("max")];
    [this.means, this.counts] = [column("mean"), column("rows")];
    this.meansAbove = column("mean_above");
    this.least = about.least === undefined ? null : BigInt(about.least);
    this.above = 0n;
  }

  /** Draw integers as their distance from this one: the least of all, or 0. */
  drawAbove(above) {
    this.above = above;
    this.shown = null;
  }

  get rows() {
    return this.about.total;
  }

  /** What is drawn: `{left, right, low, high, x, y}`, a box for each bucket and its mean in the middle. */
  points() {
    this.shown ??= this.#points();
    return this.shown;
  }

  #points() {
    const [left, right] = [moved(this.starts, this.shift), moved(this.ends, this.shift)];
    return {
      left,
      right,
      low: drawn(this.lows, this.above),
      high: drawn(this.highs, this.above),
      x: left.map((start, n) => (start + right[n]) / 2),
      y: Float64Array.from(this.above === 0n ? this.means : this.meansAbove),
    };
  }

  /** Lowest and highest number of the buckets that touch the span of drawn offsets. */
  reach(from, to) {
    const { left, right, low, high } = this.points();
    const seen = (list) => list.filter((_, n) => right[n] >= from && left[n] <= to);
    return extremes([seen(low), seen(high)]);
  }

  /**
   * What the buckets say that touch a time or are drawn on its pixel, `{text, ns, endNs, rows, mean}`; without any
   * the nearest one, null of none at all.
   */
  at(ns, pixelNs) {
    if (this.starts.length === 0) return null;
    const wanted = offsetOf(this.baseNs, ns);
    const [first, last] = this.#under(wanted, pixelNs / 2);
    let [least, greatest, rows, sum] = [this.lows[first], this.highs[first], 0, 0];
    for (let n = first; n <= last; n += 1) {
      if (this.lows[n] < least) least = this.lows[n];
      if (this.highs[n] > greatest) greatest = this.highs[n];
      rows += this.counts[n];
      sum += this.means[n] * this.counts[n];
    }
    const text = [least, greatest].map((value) => numberText(value, this.about.type)).join(" … ");
    const [startNs, endNs] = [this.starts[first], this.ends[last]].map((offset) => timeAt(this.baseNs, offset));
    return { exact: false, text, ns: startNs, endNs, rows, mean: sum / rows };
  }

  #under(wanted, around) {
    const first = firstAtLeast(this.ends, wanted - around);
    const last = lastAtMost(this.starts, wanted + around);
    if (first <= last) return [first, last];
    const before = Math.max(0, last);
    const after = Math.min(before + 1, this.starts.length - 1);
    const nearer = wanted - this.ends[before] <= this.starts[after] - wanted ? before : after;
    return [nearer, nearer];
  }

  /** Buckets have no rows to step to. */
  step() {
    return null;
  }
}
