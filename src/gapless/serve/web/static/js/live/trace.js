// The last minute of one channel, and how it is drawn: one polyline on a canvas, nothing else.

const POINTS = 1024; // more than a minute of ten values a second
export const WINDOW_S = 60;
const PAD = 4;

/** A ring of times (seconds since 1970) and values; NaN breaks the line. */
export class Trace {
  #times = new Float64Array(POINTS);
  #values = new Float64Array(POINTS);
  #next = 0;
  #held = 0;
  #isParted = false;
  latest_s = -Infinity;

  /** Part what comes from what is held: values in between were not heard. */
  part() {
    this.#isParted = this.#held > 0;
  }

  /** Add a point; a clock that went back begins a new line. */
  add(time_s, value) {
    if (time_s < this.latest_s) this.#held = 0;
    if (time_s === this.latest_s && this.#held > 0) return;
    if (this.#isParted && this.#held > 0) this.#push(time_s, NaN);
    this.#isParted = false;
    this.#push(time_s, value);
    this.latest_s = time_s;
  }

  #push(time_s, value) {
    this.#times[this.#next] = time_s;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % POINTS;
    this.#held = Math.min(this.#held + 1, POINTS);
  }

  /**
   * Begin with these points, [[time, value]], oldest first; those that are held stay, from a time on. A line whose
   * clock went back before that time begins where it did.
   */
  begin(points, from_s) {
    if (this.latest_s < from_s) return;
    const held = [];
    this.since(from_s, (time_s, value) => held.push([time_s, value]));
    const all = [...points, ...held].slice(-POINTS);
    all.forEach(([time_s, value], at) => {
      this.#times[at] = time_s;
      this.#values[at] = value;
    });
    this.#held = all.length;
    this.#next = all.length % POINTS;
  }

  /** Call a function with (time, value) of each point since a time, oldest first. */
  since(from_s, take) {
    const first = this.#next - this.#held + POINTS;
    for (let n = 0; n < this.#held; n += 1) {
      const at = (first + n) % POINTS;
      if (this.#times[at] >= from_s) take(this.#times[at], this.#values[at]);
    }
  }

  /** Return the lowest and highest value since a time, null without any. */
  range(from_s) {
    let low = Infinity;
    let high = -Infinity;
    this.since(from_s, (_, value) => {
      if (value < low) low = value;
      if (value > high) high = value;
    });
    return low <= high ? [low, high] : null;
  }
}

/** Colours of the theme, read once for each change of it. */
export function inks() {
  const style = getComputedStyle(document.documentElement);
  const ink = (name) => style.getPropertyValue(name).trim();
  return { line: ink("--curve-1"), grid: ink("--line"), limit: ink("--bad") };
}

/**
 * Draw a trace on a canvas of a size in CSS pixels. ``until_s`` is its right edge; ``limits`` are [low, high],
 * null where there is none; they are drawn where they lie in sight. Returns the range of what is shown.
 */
export function draw(context, { width, height, ratio }, trace, until_s, limits, ink) {
  const from_s = until_s - WINDOW_S;
  const range = trace.range(from_s);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  ruled(context, width, height, ink.grid);
  if (range === null) return null;
  const spread = range[1] - range[0] || Math.abs(range[0]) * 0.01 || 1;
  const x = (time_s) => ((time_s - from_s) / WINDOW_S) * width;
  const y = (value) => height - PAD - ((value - range[0] + (range[1] === range[0] ? spread / 2 : 0)) / spread) * (height - 2 * PAD);
  for (const limit of limits) {
    if (limit !== null && limit >= range[0] && limit <= range[1]) dashed(context, y(limit), width, ink.limit);
  }
  context.strokeStyle = ink.line;
  context.lineWidth = 1.25;
  context.beginPath();
  let broken = true;
  trace.since(from_s, (time_s, value) => {
    if (Number.isNaN(value)) broken = true;
    else if (broken) context.moveTo(x(time_s), y(value));
    else context.lineTo(x(time_s), y(value));
    if (!Number.isNaN(value)) broken = false;
  });
  context.stroke();
  return range;
}

function ruled(context, width, height, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let n = 1; n < 6; n += 1) {
    const x = Math.round((n * width) / 6) + 0.5; // a line each ten seconds
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  context.stroke();
}

function dashed(context, y, width, colour) {
  context.strokeStyle = colour;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.setLineDash([]);
}
