// The rows of a table as far as they were fetched: page after page by cursor, each asked for once.

const PAGE_ROWS = 200;

/**
 * Rows in order, growing at their end. ``fetchPage(cursor, {want, signal})`` gives {rows, next, total?}: cursor is
 * null for the first page, ``want`` is how many rows would do, ``total`` how many there are in all. ``arrived`` is
 * called with these pages after each one.
 */
export class RowPages {
  constructor(fetchPage, arrived) {
    this.rows = [];
    this.isWhole = false;
    this.total = null;
    this.error = null;
    this._fetchPage = fetchPage;
    this._arrived = arrived;
    this._next = null;
    this._goal = 0;
    this._fetching = null;
    this._stop = new AbortController();
  }

  /** How many rows there are in all, as far as it is known: at least those fetched. */
  get length() {
    return this.isWhole ? this.rows.length : Math.max(this.total ?? 0, this.rows.length);
  }

  /** True while pages are on their way. */
  get isFetching() {
    return this._fetching !== null;
  }

  /**
   * Resolve once ``count`` rows are here, or there are no more, or one was refused: that is kept in ``error`` and ends
   * the fetching until it is cleared.
   */
  reach(count) {
    this._goal = Math.max(this._goal, count);
    if (this._fetching === null && this.error === null && this._isShort) this._fetching = this._run();
    return this._fetching ?? Promise.resolve();
  }

  /** Stop what is under way; these rows grow no more. */
  end() {
    this._stop.abort();
  }

  get _isShort() {
    return !this.isWhole && this.rows.length < this._goal;
  }

  async _run() {
    try {
      while (this._isShort) {
        await this._more(Math.max(PAGE_ROWS, this._goal - this.rows.length));
        this._arrived(this);
      }
    } catch (error) {
      this.error = error;
    } finally {
      this._fetching = null;
    }
  }

  async _more(want) {
    const page = await this._fetchPage(this._next, { want, signal: this._stop.signal });
    this._stop.signal.throwIfAborted();
    this.rows.push(...page.rows);
    this.total = page.total ?? this.total;
    this._next = page.next ?? null;
    this.isWhole = this._next === null;
  }
}
