// Times, sizes and values as people read them. Times are int64 ns since 1970 as BigInt or decimal text.

import { zone } from "./settings.js";

const NONE = "–";
const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const SECOND = 1_000_000_000n;
const DIGITS = { s: 0, ms: 3, us: 6, ns: 9 };
const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

/**
 * Return a moment as "2026-11-21 20:48:13.125" in the zone that the reader chose (``zoned`` overrides it:
 * "local" or "utc"). ``precision`` is s, ms, us or ns; what is finer is cut off, never rounded up.
 */
export function time(ns, { precision = "s", zoned = zone() } = {}) {
  if (ns === null || ns === undefined) return NONE;
  const { seconds, rest } = split(BigInt(ns));
  const moment = new Date(Number(seconds) * 1000);
  const [date, clock] = zoned === "utc" ? utcParts(moment) : localParts(moment);
  const digits = DIGITS[precision];
  const fraction = digits === 0 ? "" : `.${rest.toString().padStart(9, "0").slice(0, digits)}`;
  return `${date} ${clock}${fraction}`;
}

/** Return a moment in UTC with all its digits, for titles and for copying: "2026-11-21T20:48:13.125000000Z". */
export function utc(ns) {
  return ns === null || ns === undefined
    ? ""
    : `${time(ns, { precision: "ns", zoned: "utc" }).replace(" ", "T")}Z`;
}

/** Return a length of time as `gapless ls` does: "850.0 ms", "12.3 s", "4m 05s", "26h 03m". */
export function duration(ns) {
  if (ns === null || ns === undefined) return NONE;
  const length = BigInt(ns);
  if (length < 0n) return `-${duration(-length)}`;
  if (length < 60n * SECOND) return shortDuration(Number(length));
  const minutes = length / (60n * SECOND);
  if (minutes < 60n) return `${minutes}m ${twoDigits((length / SECOND) % 60n)}s`;
  return `${minutes / 60n}h ${twoDigits(minutes % 60n)}m`;
}

/** Return a size as `gapless ls` does, in binary units: "312 B", "4.2 MiB". */
export function bytes(size) {
  if (size === null || size === undefined) return NONE;
  let left = Number(size);
  let step = 0;
  while (left >= 1024 && step < SIZES.length - 1) {
    left /= 1024;
    step += 1;
  }
  return `${step === 0 ? left : tenths(left)} ${SIZES[step]}`;
}

/** Return a whole number with its thousands apart: "1,234,567". */
export function count(number) {
  return number === null || number === undefined ? NONE : GROUPED.format(number);
}

/**
 * Return a value with every digit that it has, and its unit: a float64 as the shortest text that reads back as
 * the same bits, an int64 exactly.
 */
export function value(number, unit = null) {
  if (number === null || number === undefined) return NONE;
  const text = typeof number === "number" && Number.isNaN(number) ? "NaN" : String(number);
  return unit === null || unit === undefined || unit === "" ? text : `${text} ${unit}`;
}

function split(ns) {
  const rest = ((ns % SECOND) + SECOND) % SECOND; // times before 1970 have seconds below zero and a rest above
  return { seconds: (ns - rest) / SECOND, rest };
}

function utcParts(moment) {
  const text = moment.toISOString();
  const cut = text.indexOf("T");
  return [text.slice(0, cut), text.slice(cut + 1, cut + 9)];
}

function localParts(moment) {
  return [
    `${String(moment.getFullYear()).padStart(4, "0")}-${twoDigits(moment.getMonth() + 1)}-${twoDigits(moment.getDate())}`,
    `${twoDigits(moment.getHours())}:${twoDigits(moment.getMinutes())}:${twoDigits(moment.getSeconds())}`,
  ];
}

function shortDuration(ns) {
  if (ns === 0) return "0 s";
  if (ns < 100) return `${ns} ns`;
  if (ns < 1e5) return `${tenths(ns / 1e3)} µs`;
  return ns < 1e9 ? `${tenths(ns / 1e6)} ms` : `${tenths(ns / 1e9)} s`;
}

// Python rounds what lies between two tenths to the even one; toFixed() rounds it up.
function tenths(number) {
  const isBetween = Number.isInteger(number * 4) && !Number.isInteger(number * 2);
  const below = Math.floor(number * 10);
  return isBetween ? ((below + (below % 2)) / 10).toFixed(1) : number.toFixed(1);
}

function twoDigits(number) {
  return String(number).padStart(2, "0");
}
