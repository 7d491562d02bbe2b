// When a topic has pictures, and which second of its video shows each.

import * as api from "../core/api.js";
import { offsetOf, timeAt } from "../core/frame.js";
import { lastAtMost } from "./exact.js";

const PAGE = 20_000;
const MOST = 400_000;
const TICK_S = 0.0005; // players report a picture's time rounded to the tick of the file

/** The pictures of a topic in order of time, as many as are loaded. */
export class FrameTimes {
  #running = Promise.resolve();
  #queued = null;

  constructor(path) {
    this.path = path;
    this.baseNs = null;
    this.#forget();
    this.hasVideo = false;
    this.pixels = null;
    this.isCut = false;
  }

  get length() {
    return this.offsets.length;
  }

  /** Load what is there, or what came since, one after the other; stops at a bound and says so in `isCut`. */
  load() {
    this.#queued ??= this.#running
      .catch(() => {}) // told to whom it was for
      .then(() => {
        this.#queued = null;
        this.#running = this.#load();
        return this.#running;
      });
    return this.#queued;
  }

  async #load() {
    let startNs = this.length ? this.time(this.length - 1) + 1n : null;
    do {
      let frame = await this.#page(startNs);
      if (frame.header.video && !this.hasVideo && this.length > 0) {
        frame = await this.#page(null); // with the seal there is a video, which shows those known before too
        this.#forget();
      }
      this.#take(frame);
      startNs = frame.header.next_ns;
    } while (startNs !== null && this.length < MOST);
    this.isCut = startNs !== null;
  }

  #page(startNs) {
    return api.frame(`${this.path}/frames`, { start_ns: startNs, limit: PAGE });
  }

  #forget() {
    [this.offsets, this.numbers, this.seconds] = [[], [], []];
    this.video = { seconds: [], indexes: [] };
  }

  #take({ header, columns, baseNs }) {
    this.baseNs ??= baseNs;
    const shift = offsetOf(this.baseNs, baseNs);
    const before = this.length;
    for (const offset of columns.get("time")) this.offsets.push(offset + shift);
    for (const number of columns.get("number")) this.numbers.push(number);
    (columns.get("pts_s") ?? []).forEach((second, n) => {
      if (Number.isNaN(second)) return;
      this.video.seconds.push(second);
      this.video.indexes.push(before + n);
    });
    this.hasVideo = Boolean(header.video);
    this.pixels = header.pixels;
  }

  /** The time of a picture. */
  time(index) {
    return timeAt(this.baseNs, this.offsets[index]);
  }

  /** The picture at or before a time; before the first one that one. */
  at(ns) {
    return Math.max(0, lastAtMost(this.offsets, offsetOf(this.baseNs, ns)));
  }

  /** The second of the video that shows a picture, or the nearest before it; 0 without any. */
  secondOf(index) {
    const place = lastAtMost(this.video.indexes, index);
    return place < 0 ? 0 : this.video.seconds[place];
  }

  /** The picture that a second of the video shows. */
  shownAt(second) {
    return this.video.indexes[Math.max(0, lastAtMost(this.video.seconds, second + TICK_S))];
  }
}
