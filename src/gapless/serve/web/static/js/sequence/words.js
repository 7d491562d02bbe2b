// Counts in words: one row, two rows.

import { count } from "../core/format.js";

/** Return a number of rows in words. */
export function rowsWords(rows) {
  return `${count(rows)} ${Number(rows) === 1 ? "row" : "rows"}`;
}
