// Brings the curves of the span on screen: what comes late for an older span is dropped, never drawn.

import * as api from "../core/api.js";
import { curvesOf } from "./curve.js";
import { nameOf } from "./view.js";

const PAUSE_MS = 90;
const MARGIN = 20n; // a twentieth of the span on each side, so that lines reach the edge and small pans show data

const FIRST_NS = -(2n ** 63n) + 1n;
const LAST_NS = 2n ** 63n - 1n;

/** Asks for curves as the span, the fields or the width change; one request at a time. */
export class CurveFeed {
  #timer = 0;
  isWaiting = false; // from a wish to its curves, or to why there are none
  #asked = null;
  #shownKey = "";
  requests = 0;

  /** `tell` has `curves([curve])`, `waiting(bool)` and `failed(error, retry)`. */
  constructor(path, originNs, tell) {
    this.path = path;
    this.originNs = originNs;
    this.tell = tell;
  }

  /** Want these fields over `[fromNs, toNs]` in a figure of that many pixels; the last wish counts. */
  want(fields, fromNs, toNs, pixels, { now = false, again = false } = {}) {
    clearTimeout(this.#timer);
    if (again) this.#shownKey = "";
    this.isWaiting = true;
    this.#timer = setTimeout(() => this.#ask(fields, fromNs, toNs, pixels), now ? 0 : PAUSE_MS);
  }

  async #ask(fields, fromNs, toNs, pixels) {
    const points = Math.min(4000, Math.max(200, Math.round(pixels) * 2));
    const key = `${fields.map(nameOf).join(" ")} ${fromNs} ${toNs} ${points}`;
    this.#asked?.abort();
    this.#asked = null;
    if (fields.length === 0 || key === this.#shownKey) {
      this.#rest();
      return;
    }
    const asked = (this.#asked = new AbortController());
    this.tell.waiting(true);
    try {
      const curves = await this.#curves(fields, fromNs, toNs, points, asked.signal);
      if (asked.signal.aborted) return;
      this.#shownKey = key;
      this.tell.curves(curves);
    } catch (error) {
      if (api.isAborted(error)) return;
      this.tell.failed(error, () => this.#ask(fields, fromNs, toNs, pixels));
    }
    this.#rest();
  }

  #rest() {
    this.isWaiting = false;
    this.tell.waiting(false);
  }

  async #curves(fields, fromNs, toNs, points, signal) {
    const room = (toNs - fromNs) / MARGIN + 1n;
    const asked = {
      fields: fields.map(nameOf),
      start_ns: fromNs - room < FIRST_NS ? FIRST_NS : fromNs - room,
      end_ns: toNs + room > LAST_NS ? LAST_NS : toNs + room,
      points,
    };
    this.requests += 1;
    return curvesOf(await api.frame(`${this.path}/curves`, asked, { signal }), this.originNs);
  }
}
