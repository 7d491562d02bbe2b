// Numbers and times as they are stored, digit by digit: nothing here goes through a rounded float.

const NS = 1_000_000_000n;
const DATE = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?\s*(Z|UTC|[+-]\d\d:?\d\d)?$/;

/** Return a value of a frame's column as text: integers in full, floats by the shortest text that reads back. */
export function numberText(value, type) {
  if (typeof value === "bigint") return value.toString();
  if (type === "float" || type === "float32") return float32Text(value);
  if (type === "bool") return value ? "true" : "false";
  return Object.is(value, -0) ? "-0" : String(value);
}

// A float32 widened to float64 shows digits that nobody stored; the shortest text that makes it again is enough.
function float32Text(value) {
  if (!Number.isFinite(value)) return String(value);
  for (let digits = 1; digits <= 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(value);
}

/** Return the index of the number nearest to `wanted` in rising numbers, the first of equals; -1 of none. */
export function nearest(rising, wanted) {
  if (rising.length === 0) return -1;
  const after = firstAtLeast(rising, wanted);
  if (after === 0) return 0;
  if (after === rising.length) return firstAtLeast(rising, rising[after - 1]);
  const before = rising[after - 1];
  return wanted - before <= rising[after] - wanted ? firstAtLeast(rising, before) : after;
}

/** Return the index of the first of rising numbers that is not below `wanted`, their count if there is none. */
export function firstAtLeast(rising, wanted) {
  let [low, high] = [0, rising.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return the index of the last of rising numbers that is not above `wanted`, -1 if there is none. */
export function lastAtMost(rising, wanted) {
  let [low, high] = [0, rising.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] <= wanted) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * Return a time to its last ns, without the zeros after ms or µs, in the words of the axis: `local`, `utc`, or `s`
 * since the origin.
 */
export function exactTime(ns, axis, originNs) {
  if (axis === "s") return `${secondsText(ns - originNs)} s`;
  const [date, fraction] = dateOf(ns);
  if (Number.isNaN(date.getTime())) return `${ns} ns`;
  const digits = String(fraction).padStart(9, "0").replace(/(000){1,2}$/, "");
  if (axis === "utc") return `${date.toISOString().slice(0, 19).replace("T", " ")}.${digits} UTC`;
  const two = (n) => String(n).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${digits}`;
}

/** Return nanoseconds as seconds with all their digits and no zeros at the end. */
export function secondsText(ns) {
  const size = ns < 0n ? -ns : ns;
  const fraction = String(size % NS).padStart(9, "0").replace(/0+$/, "");
  return `${ns < 0n ? "-" : ""}${size / NS}${fraction ? `.${fraction}` : ""}`;
}

/** Return the date of a time to the second, and the ns that are left. */
export function dateOf(ns) {
  const fraction = ((ns % NS) + NS) % NS;
  return [new Date(Number((ns - fraction) / NS) * 1000), fraction];
}

/**
 * Return the time that a person typed, as BigInt ns; null if it is none.
 *
 * Read are seconds since the origin (`12.5`, `12.5 s`), ns since the epoch (13 digits or more), and dates with
 * their time of day (`2024-05-01 12:00:00.5`, local unless they end in `Z`, `UTC` or an offset).
 */
export function typedTime(text, originNs) {
  const said = text.trim();
  if (/^-?\d{13,19}$/.test(said)) return BigInt(said);
  const seconds = said.match(/^(-?)(\d*)(?:\.(\d{1,9}))?\s*s?$/);
  if (seconds && (seconds[2] || seconds[3])) {
    const size = BigInt(seconds[2] || "0") * NS + BigInt((seconds[3] ?? "").padEnd(9, "0"));
    return originNs + (seconds[1] ? -size : size);
  }
  return typedDate(said);
}

function typedDate(said) {
  const parts = said.match(DATE);
  if (!parts) return null;
  const zone = parts[4] === "UTC" ? "Z" : parts[4] ?? "";
  const stamp = Date.parse(`${parts[1]}T${parts[2]}${zone}`);
  if (Number.isNaN(stamp)) return null;
  return BigInt(stamp) * 1_000_000n + BigInt((parts[3] ?? "").padEnd(9, "0"));
}
