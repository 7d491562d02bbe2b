// A channel's value, its flags and its age in words.

const FLAGS = ["below range", "above range", "clamped", "invalid, says the device", "not finite", "stale"];

const LARGE = /^-?\d{16,}$/;

/** Return a value as it is read at a glance: a few digits that matter, whole numbers and texts as they are. */
export function glance(value, digits = 6) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(digits)));
}

/** Return a value as a number to draw, NaN for none; integers beyond 2^53 come as text and lose their last digits. */
export function numberOf(value) {
  if (typeof value === "number" || typeof value === "boolean") return Number(value);
  return typeof value === "string" && LARGE.test(value) ? Number(value) : Number.NaN;
}

/** Return the names of a sample's flags, "" for a good one. */
export function flags(status) {
  return FLAGS.filter((_, bit) => (status >> bit) & 1).join(", ");
}

/** Return an age in words that do not jump about: "now", "3 s ago", "2 min ago". */
export function age(seconds) {
  if (seconds === null || seconds === undefined) return "waiting";
  if (seconds < 1.5) return "now";
  return seconds < 90 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`;
}

/** Return a length of time as a clock shows it: 0:07, 12:05, 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
