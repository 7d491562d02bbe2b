// What the list is asked for: the search and filters of the address, and how the server is asked with them.

import { get } from "../core/api.js";
import { read } from "../core/place.js";
import { parametersOf, useOf } from "./search_text.js";

const MOST_ROWS = 1000; // of one page of the API

export const FILTERS = ["state", "outcome", "group"];

/** Return {query, as, state, outcome, group, order} of the address; what is not in it is null. */
export function searchOfPlace() {
  const place = read();
  return Object.fromEntries(["query", "as", ...FILTERS, "order"].map((name) => [name, place.get(name) ?? null]));
}

/** True where a search leaves sequences out. */
export function isNarrowed(search) {
  return (search.query ?? "").trim() !== "" || FILTERS.some((name) => search[name] !== null);
}

/**
 * One search, as a table asks for its pages. ``use`` says what the text is used as: "none", "text" or "query"; a
 * text that may be either is a query if the server can read it as one, which is known after the first page.
 */
export class Question {
  constructor(search) {
    const guess = useOf(search.query ?? "");
    this.search = search;
    this.use = search.as === "text" && guess !== "none" ? "text" : guess === "perhaps" ? "query" : guess;
    this.warnings = [];
    this._mayBeText = guess === "perhaps";
    this.fetchPage = (cursor, asked) => this._page(cursor, asked);
  }

  async _page(cursor, asked) {
    try {
      return await this._ask(cursor, asked);
    } catch (error) {
      if (!this._mayBeText || cursor !== null || error.status !== 400) throw error;
      this.use = "text";
      return this._ask(cursor, asked);
    }
  }

  async _ask(cursor, { want, order, signal }) {
    const { state, outcome, group, query } = this.search;
    const text = this.use === "none" ? {} : parametersOf(query, this.use);
    const limit = Math.min(want, MOST_ROWS);
    const answer = await get("/sequences", { ...text, state, outcome, group, order, limit, cursor }, { signal });
    this.warnings = answer.warnings;
    return { rows: answer.sequences, next: answer.next_cursor, total: answer.total };
  }
}
