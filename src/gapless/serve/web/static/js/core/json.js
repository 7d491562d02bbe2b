// JSON whose whole numbers keep every digit: those beyond 2^53, which no number of JavaScript holds, are BigInt.

const LARGE = /[:,[]\s*-?\d{16,}\s*[,\]}]/; // without one of these the plain parser, which is quicker, does as well
const WHOLE = /^-?\d+$/;

/**
 * Parse JSON. A whole number beyond 2^53 is a BigInt; in a browser that does not tell how a number was written it
 * is a text that begins with "about".
 */
export function parse(text) {
  return LARGE.test(text) ? JSON.parse(text, exactly) : JSON.parse(text);
}

/** Return a value as JSON; a BigInt is written as the number that it is. */
export function stringify(value, indent = 0) {
  return JSON.stringify(value, (_, one) => (typeof one === "bigint" ? JSON.rawJSON(String(one)) : one), indent);
}

function exactly(_, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  if (context?.source === undefined) return Number.isInteger(value) ? `about ${value}` : value;
  return WHOLE.test(context.source) ? BigInt(context.source) : value;
}
