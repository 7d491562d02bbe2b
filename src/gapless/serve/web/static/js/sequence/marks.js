// Gaps, events and labels of the sequence: fetched once, again after a change, and told to all who draw them.

import * as api from "../core/api.js";
import { instant } from "./description.js";

const PAGE = 1000;
const MOST = 5000;

/** What is known beside the rows: `gaps`, `events`, `labels`, each `[{startNs, endNs, ...}]` in order of time. */
export class Marks {
  #listeners = new Set();

  constructor(path) {
    this.path = path;
    [this.gaps, this.events, this.labels] = [[], [], []];
    this.error = null;
    this.isCut = false;
  }

  /** Call `fn` after each change. */
  on(fn) {
    this.#listeners.add(fn);
  }

  /** Fetch all three; what the server refuses is kept in `error`. */
  async load() {
    try {
      const [gaps, events, labels] = await Promise.all([
        this.#all("gaps"),
        this.#all("events"),
        api.get(`${this.path}/annotations`),
      ]);
      this.gaps = gaps.map(gapOf).sort(byTime);
      this.events = events.map(eventOf).sort(byTime);
      this.labels = labels.annotations.map(labelOf).sort(byTime);
      this.error = null;
    } catch (error) {
      this.error = error;
    }
    for (const fn of this.#listeners) fn(this);
  }

  // A recording may have more gaps than a page can show; `isCut` says that there are more.
  async #all(kind) {
    const found = [];
    let after = null;
    do {
      const page = await api.get(`${this.path}/${kind}`, { limit: PAGE, after });
      found.push(...page[kind]);
      after = page.next;
    } while (after !== null && found.length < MOST);
    this.isCut ||= after !== null;
    return found;
  }

  /** Save a label on a span and return it, with the server's `warnings` about it. */
  async add({ startNs, endNs, label, kind, author, confidence }) {
    const body = { start_ns: String(startNs), end_ns: String(endNs), label, kind };
    if (author) body.author = author;
    if (confidence !== undefined && confidence !== null) body.confidence = confidence;
    const made = labelOf(await api.post(`${this.path}/annotations`, body));
    await this.load();
    return made;
  }

  /** Take a label away. */
  async remove(label) {
    await api.del(`${this.path}/annotations/${api.segment(label.id)}`);
    await this.load();
  }

  /** The gaps of a topic, those of all topics included. */
  gapsOf(topic) {
    return this.gaps.filter((gap) => gap.topic === topic || gap.topic === "*");
  }
}

function gapOf(raw) {
  const startNs = instant(raw.start_ns);
  return { ...raw, startNs, endNs: instant(raw.end_ns) ?? startNs };
}

function eventOf(raw) {
  const startNs = instant(raw.timestamp_ns);
  return { ...raw, startNs, endNs: startNs };
}

function labelOf(raw) {
  const [startNs, endNs] = [instant(raw.start_ns), instant(raw.end_ns)];
  return { ...raw, warnings: raw.warnings ?? [], name: raw.label, startNs, endNs };
}

function byTime(one, other) {
  return one.startNs < other.startNs ? -1 : Number(one.startNs > other.startNs);
}
