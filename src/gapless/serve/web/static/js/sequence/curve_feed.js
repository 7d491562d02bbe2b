// Brings the curves of the span on screen: what comes late for an older span is dropped, never drawn.

import * as api from "../core/api.js";
import { curvesOf } from "./curve.js";
import { linkOf } from "./view.js";

const PAUSE_MS = 90;
const PATIENCE = 10; // how many times as long as an answer took is waited before it is asked for anew
const MARGIN = 20n; // a twentieth of the span on each side, so that lines reach the edge and small pans show data

const FIRST_NS = -(2n ** 63n) + 1n;
const LAST_NS = 2n ** 63n - 1n;

/** Asks for curves as the span, the fields or the width change; one request at a time. */
export class CurveFeed {
  #timer = 0;
  isWaiting = false; // from a wish to its curves, or to why there are none
  #asked = null;
  #askedKey = "";
  #shownKey = "";
  #isOld = false; // what is shown, or on its way, is to be asked for anew
  #restUntil = 0;
  requests = 0;

  /** `tell` has `curves([curve])`, `waiting(bool)` and `failed(error, retry)`. */
  constructor(path, originNs, tell) {
    this.path = path;
    this.originNs = originNs;
    this.tell = tell;
  }

  /**
   * Want these fields over `[fromNs, toNs]` in a figure of that many pixels; the last wish counts. `again`: there may be
   * more rows. That ends no request for the same, however long it takes: one is asked after it.
   */
  want(fields, fromNs, toNs, pixels, { now = false, again = false } = {}) {
    const wish = { fields, fromNs, toNs, points: pointsOf(pixels) };
    const key = keyOf(wish);
    if (again) this.#isOld = true;
    if (again && key === this.#askedKey) return;
    const isRenewal = again && key === this.#shownKey;
    clearTimeout(this.#timer);
    this.isWaiting ||= !isRenewal;
    const rest = isRenewal ? this.#restUntil - performance.now() : 0;
    this.#timer = setTimeout(() => this.#ask(wish, key), Math.max(now ? 0 : PAUSE_MS, rest));
  }

  async #ask(wish, key) {
    this.#asked?.abort();
    [this.#asked, this.#askedKey] = [null, ""];
    if (wish.fields.length === 0 || (key === this.#shownKey && !this.#isOld)) {
      this.#rest();
      return;
    }
    const asked = (this.#asked = new AbortController());
    [this.#askedKey, this.#isOld, this.isWaiting] = [key, false, true];
    this.tell.waiting(true);
    const start = performance.now();
    try {
      const curves = await this.#curves(wish, asked.signal);
      if (asked.signal.aborted) return;
      this.#shownKey = key;
      this.tell.curves(curves);
    } catch (error) {
      if (api.isAborted(error)) return;
      this.tell.failed(error, () => this.#ask(wish, key));
    }
    this.#restUntil = performance.now() + PATIENCE * (performance.now() - start);
    this.#askedKey = "";
    this.#rest();
    if (this.#isOld) this.#renew(wish, key);
  }

  #renew(wish, key) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(wish, key), this.#restUntil - performance.now());
  }

  #rest() {
    this.isWaiting = false;
    this.tell.waiting(false);
  }

  async #curves({ fields, fromNs, toNs, points }, signal) {
    const room = (toNs - fromNs) / MARGIN + 1n;
    const asked = {
      fields: fields.map(linkOf),
      start_ns: fromNs - room < FIRST_NS ? FIRST_NS : fromNs - room,
      end_ns: toNs + room > LAST_NS ? LAST_NS : toNs + room,
      points,
    };
    this.requests += 1;
    return curvesOf(await api.frame(`${this.path}/curves`, asked, { signal }), this.originNs);
  }
}

function pointsOf(pixels) {
  return Math.min(4000, Math.max(200, Math.round(pixels) * 2));
}

function keyOf({ fields, fromNs, toNs, points }) {
  return `${fields.map(linkOf).join(" ")} ${fromNs} ${toNs} ${points}`;
}
