// Ticks of a time axis: round times in the reader's zone, in UTC, or round seconds since the start.

import { dateOf, secondsText } from "./exact.js";

const SECOND = 1_000_000_000n;
const MINUTE = 60n * SECOND;
const HOUR = 60n * MINUTE;
const DAY = 24n * HOUR;
const ROUND = [1n, 2n, 5n];
const CLOCK_STEPS = [
  ...[1n, 2n, 5n, 10n, 15n, 30n].map((n) => n * SECOND),
  ...[1n, 2n, 5n, 10n, 15n, 30n].map((n) => n * MINUTE),
  ...[1n, 2n, 3n, 6n, 12n].map((n) => n * HOUR),
  ...[1n, 2n, 7n, 14n, 30n, 91n, 365n].map((n) => n * DAY),
];

/** Return `{times: [BigInt ns], words: [text], title}` of about `wanted` ticks in the span. */
export function timeTicks(fromNs, toNs, axis, originNs, wanted) {
  const least = (toNs - fromNs) / BigInt(Math.max(wanted, 1)) + 1n;
  const step = axis === "s" ? decimalStep(least) : clockStep(least);
  const anchor = axis === "s" ? originNs : -zoneOffset(fromNs, axis);
  const times = [];
  const isShifted = axis === "local" && step > HOUR; // days begin an hour earlier or later behind a change of the clocks
  const first = ceiling(fromNs - anchor, step) + anchor;
  for (let even = first; even <= toNs + (isShifted ? DAY : 0n); even += step) {
    const ns = isShifted ? even - anchor - zoneOffset(even, axis) : even;
    if (ns >= fromNs && ns <= toNs) times.push(ns);
  }
  if (axis === "s") {
    return { times, words: times.map((ns) => secondsText(ns - originNs)), title: "seconds since the start" };
  }
  return { times, words: times.map((ns) => clockText(ns, axis, step)), title: title(fromNs, axis, step) };
}

function decimalStep(least) {
  for (let power = 1n; ; power *= 10n) {
    for (const digit of ROUND) if (digit * power >= least) return digit * power;
  }
}

function clockStep(least) {
  if (least <= SECOND / 2n) return decimalStep(least);
  return CLOCK_STEPS.find((step) => step >= least) ?? decimalStep(least / DAY) * DAY;
}

function ceiling(ns, step) {
  const rest = ((ns % step) + step) % step;
  return rest === 0n ? ns : ns + step - rest;
}

// How far local clocks are ahead of UTC at that time.
function zoneOffset(ns, axis) {
  if (axis === "utc") return 0n;
  const minutes = dateOf(ns)[0].getTimezoneOffset();
  return Number.isNaN(minutes) ? 0n : BigInt(-minutes) * MINUTE;
}

function parts(ns, axis) {
  const [date, fraction] = dateOf(ns);
  if (Number.isNaN(date.getTime())) return null;
  const shifted = axis === "utc" ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  const text = shifted.toISOString();
  return { day: text.slice(0, 10), minute: text.slice(11, 16), second: text.slice(17, 19), fraction };
}

function clockText(ns, axis, step) {
  const known = parts(ns, axis);
  if (known === null) return String(ns);
  if (step >= DAY) return known.day;
  if (step >= MINUTE) return known.minute === "00:00" ? known.day : known.minute;
  if (step >= SECOND) return `${known.minute}:${known.second}`;
  const digits = 10 - String(step).length;
  return `${known.second}.${String(known.fraction).padStart(9, "0").slice(0, Math.max(1, digits))}`;
}

// The words below the axis say what its ticks leave out.
function title(ns, axis, step) {
  const known = parts(ns, axis);
  const zone = axis === "utc" ? "UTC" : "local time";
  if (known === null) return zone;
  if (step >= DAY) return zone;
  return step >= SECOND ? `${known.day}, ${zone}` : `${known.day} ${known.minute}, seconds, ${zone}`;
}
