// What is on screen: span, cursor, fields, axis. Every part of the page reads it and follows it; the URL holds it.
//
// Times are BigInt nanoseconds since the epoch. Numbers that are drawn are float offsets from `originNs`, the
// first time of the sequence, in ns.

import * as place from "../core/place.js";
import { zone } from "../core/settings.js";

const AXES = ["local", "utc", "s"];
const URL_PAUSE_MS = 250;
const SHORTEST_NS = 100n;
const HALF_SECOND_NS = 500_000_000n;

/** The shared state of the page; `on(name, fn)` with a name: span, cursor, fields, axis, cameras, extent. */
export class View {
  #listeners = new Map();
  #changes = {};
  #timer = 0;

  constructor(startNs, endNs) {
    this.originNs = startNs;
    this.fields = [];
    this.axis = zone();
    this.cursorNs = null;
    this.join = false;
    this.cameras = false;
    this.setExtent(startNs, endNs);
    [this.fromNs, this.toNs] = [this.startNs, this.endNs];
  }

  /** Call `fn` after each change of that name; returns a function that ends it. */
  on(name, fn) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(fn);
    return () => this.#listeners.get(name).delete(fn);
  }

  #tell(name) {
    for (const fn of this.#listeners.get(name) ?? []) fn(this);
  }

  /** The sequence reaches from `startNs` to `endNs`, which is after its last row. */
  setExtent(startNs, endNs) {
    const room = endNs - startNs < SHORTEST_NS ? HALF_SECOND_NS : 0n; // one instant gets some time around it
    [this.startNs, this.endNs] = [startNs - room, endNs + room];
    this.#tell("extent");
  }

  /** Show `[fromNs, toNs]`, held between 100 ns and ten times the sequence, and never beside it. */
  setSpan(fromNs, toNs, { push = false } = {}) {
    [fromNs, toNs] = this.#held(fromNs, toNs);
    if (fromNs === this.fromNs && toNs === this.toNs) return;
    [this.fromNs, this.toNs] = [fromNs, toNs];
    const all = fromNs === this.startNs && toNs === this.endNs;
    this.#write({ from: all ? null : String(fromNs), to: all ? null : String(toNs) }, push);
    this.#tell("span");
  }

  #held(fromNs, toNs) {
    const all = this.endNs - this.startNs;
    const middle = (fromNs + toNs) / 2n;
    if (toNs - fromNs < SHORTEST_NS) return [middle - SHORTEST_NS / 2n, middle + SHORTEST_NS / 2n];
    if (toNs - fromNs > 10n * all) return [this.startNs, this.endNs];
    if (fromNs > this.endNs) return [this.endNs, this.endNs + toNs - fromNs];
    if (toNs < this.startNs) return [this.startNs - (toNs - fromNs), this.startNs];
    return [fromNs, toNs];
  }

  /** Show everything. */
  showAll({ push = true } = {}) {
    this.setSpan(this.startNs, this.endNs, { push });
  }

  /** Make the span `factor` times as long; the time `aroundNs` keeps its place. */
  zoom(factor, aroundNs = null) {
    const length = Number(this.toNs - this.fromNs);
    const inside = aroundNs !== null && aroundNs >= this.fromNs && aroundNs <= this.toNs;
    const kept = inside ? aroundNs : (this.fromNs + this.toNs) / 2n;
    const before = Number(kept - this.fromNs) / length;
    const next = length * factor;
    const fromNs = kept - BigInt(Math.round(next * before));
    this.setSpan(fromNs, fromNs + BigInt(Math.round(next)));
  }

  /** Move the span by a part of its length. */
  pan(part) {
    const by = BigInt(Math.round(Number(this.toNs - this.fromNs) * part));
    this.setSpan(this.fromNs + by, this.toNs + by);
  }

  /** Put the cursor at a time, or take it away with null. */
  setCursor(ns) {
    if (ns === this.cursorNs) return;
    this.cursorNs = ns;
    this.#write({ cursor: ns === null ? null : String(ns) });
    this.#tell("cursor");
  }

  /** Plot these fields: `[{topic, field}]`. */
  setFields(fields) {
    this.fields = fields;
    this.#write({ fields: fields.map(linkOf) });
    this.#tell("fields");
  }

  /** Write times as `local`, `utc` or `s` (seconds since the start). */
  setAxis(axis) {
    this.axis = axis;
    this.#write({ axis: axis === zone() ? null : axis });
    this.#tell("axis");
  }

  /** Plot fields of equal unit in one figure, or each in its own. */
  setJoin(join) {
    this.join = join;
    this.#write({ join: join ? "1" : null });
    this.#tell("fields");
  }

  /** Show the pictures beside the plots, or not. */
  setCameras(cameras) {
    this.cameras = cameras;
    this.#write({ pictures: cameras ? "1" : null });
    this.#tell("cameras");
    this.#tell("cameras");
  }

  /** Show a span that was found somewhere, with what is around it, and the cursor where it begins. */
  lookAt(startNs, endNs) {
    const least = (this.endNs - this.startNs) / 500n;
    const room = endNs - startNs > least ? endNs - startNs : least;
    this.setSpan(startNs - room, endNs + room);
    this.setCursor(startNs);
  }

  /** Return the offset of a time from the origin in ns, as it is drawn. */
  offset(ns) {
    return Number(ns - this.originNs);
  }

  /** Return the time of a drawn offset, to the nearest ns. */
  timeAt(offset) {
    return this.originNs + BigInt(Math.round(offset));
  }

  /**
   * Take over what the URL says; what it does not say or says wrongly stays as the sequence has it. `fieldOf` tells
   * what the name of a field means.
   */
  readPlace(defaultFields, fieldOf) {
    clearTimeout(this.#timer);
    this.#changes = {};
    const said = place.read();
    const [fromNs, toNs] = [nanoseconds(said.get("from")), nanoseconds(said.get("to"))];
    this.fromNs = fromNs ?? this.startNs;
    this.toNs = toNs ?? this.endNs;
    [this.fromNs, this.toNs] = this.#held(this.fromNs, this.toNs);
    this.cursorNs = nanoseconds(said.get("cursor"));
    this.fields = said.has("fields") ? place.all("fields").map(fieldOf) : defaultFields;
    this.axis = AXES.includes(said.get("axis")) ? said.get("axis") : zone();
    this.join = said.get("join") === "1";
    this.cameras = said.get("pictures") === "1";
    for (const name of ["span", "cursor", "fields", "axis", "cameras"]) this.#tell(name);
  }

  // Browsers refuse more than a few changes of the URL in a second, which a drag makes easily.
  #write(changes, push = false) {
    Object.assign(this.#changes, changes);
    clearTimeout(this.#timer);
    const write = () => {
      place.write(this.#changes, { push });
      this.#changes = {};
    };
    if (push) write();
    else this.#timer = setTimeout(write, URL_PAUSE_MS);
  }
}

/** Return text as BigInt nanoseconds, null if it is none. */
export function nanoseconds(text) {
  return text && /^-?\d{1,19}$/.test(text) ? BigInt(text) : null;
}

/** Return the name of a field as people read it, `topic:field`. */
export function nameOf({ topic, field }) {
  return `${topic}:${field}`;
}

/** Return the name of a field in links and requests; its first colon parts topic and field, whatever they hold. */
export function linkOf({ topic, field }) {
  return `${topic.replaceAll("%", "%25").replaceAll(":", "%3A")}:${field}`;
}

/** Return the fields that such a name may mean, the likeliest first: people write colons of a topic as they are. */
export function readingsOf(link) {
  const colons = [...link.matchAll(/:/g)].map(({ index }) => index);
  const raw = colons.map((at) => ({ topic: link.slice(0, at), field: link.slice(at + 1) }));
  if (raw.length === 0) return [{ topic: "", field: link }];
  const topic = raw[0].topic.replace(/%3A|%25/gi, decodeURIComponent);
  return [{ ...raw[0], topic }, ...raw];
}
