// The channels: one card each with its value and the last minute. What is out of sight is not drawn and written
// once a second only; however fast values come, a frame of the screen draws each canvas at most once.

import { el, replace } from "../core/dom.js";
import { empty } from "../core/message.js";
import { onSetting } from "../core/settings.js";
import { age, flags, glance, numberOf } from "./sample_words.js";
import { Trace, draw, inks } from "./trace.js";

const AGE_MS = 1000;
const STILL_MS = 500; // between two draws for who asked for less motion
const still = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Fill a node with channels as they appear; ``want(channel, firstNs, fill)`` brings what was before the first sample
 * of one that is looked at. Returns {take(message), about(channels), part(), end()}: after ``part`` lines begin anew, as
 * nobody listened for a while; what is shown after the end says that it was the last.
 */
export function channelGrid(node, want) {
  const cards = new Map();
  const list = el("ul", { class: "channels", "aria-label": "Channels" });
  let ink = inks();
  let known = {};
  let due = false;
  let drawn_ms = -Infinity;
  let latest_s = -Infinity;

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards.get(entry.target.dataset.channel);
      card.visible = entry.isIntersecting;
      card.dirty = true;
      if (card.visible) card.begin(want, ask);
    }
    ask();
  });
  const sized = new ResizeObserver((entries) => {
    for (const entry of entries) cards.get(entry.target.dataset.channel).size = null;
    ask();
  });

  function ask() {
    if (due) return;
    due = true;
    const rest_ms = still.matches ? drawn_ms + STILL_MS - performance.now() : 0;
    if (rest_ms > 0) setTimeout(() => requestAnimationFrame(paint), rest_ms);
    else requestAnimationFrame(paint);
  }

  function paint(now_ms) {
    due = false;
    drawn_ms = now_ms;
    const shown = [...cards.values()].filter((card) => card.visible);
    for (const card of shown) card.size ??= measured(card.canvas); // all reading of sizes before all writing
    for (const card of shown) card.paint(latest_s, ink);
  }

  function cardOf(name) {
    const card = new ChannelCard(name, known[name]);
    if (cards.size === 0) replace(node, list);
    cards.set(name, card);
    list.append(card.node);
    seen.observe(card.node);
    sized.observe(card.node);
    return card;
  }

  const ticking = setInterval(() => {
    for (const card of cards.values()) card.tell(); // also those out of sight: they can be read aloud
  }, AGE_MS);
  onSetting("theme", () => {
    ink = inks();
    ask();
  });
  empty(node, "No values yet", "They appear as soon as the recorder has some.");

  return {
    take({ samples }) {
      const now_ms = performance.now();
      for (const [name, sample] of Object.entries(samples)) {
        const card = cards.get(name) ?? cardOf(name);
        latest_s = Math.max(latest_s, card.take(sample, now_ms));
      }
      ask();
    },
    about(channels) {
      known = channels;
      for (const [name, card] of cards) card.about(channels[name]);
    },
    part() {
      for (const card of cards.values()) card.part();
    },
    end() {
      clearInterval(ticking);
      for (const card of cards.values()) card.end();
    },
  };
}

class ChannelCard {
  visible = false; // until the observer has seen it
  dirty = true;
  size = null;
  #hasEnded = false;
  #trace = new Trace();
  #sample = null;
  #came_ms = 0;
  #firstNs = null;
  #hasBegun = false;
  #limits = [null, null];
  #value = el("span", { class: "channel-value" });
  #unit = el("span", { class: "channel-unit" });
  #spread = el("span", { class: "channel-spread" });
  #state = el("span", { class: "channel-state" });
  #range = el("span", { class: "channel-range", "aria-hidden": "true" });
  #context;

  constructor(name, about) {
    this.canvas = el("canvas", { class: "channel-plot", "aria-hidden": "true" });
    this.#context = this.canvas.getContext("2d");
    this.node = el(
      "li",
      { class: "channel", "data-channel": name },
      el("p", { class: "channel-name", title: name }, name),
      el("p", { class: "channel-now" }, this.#value, this.#unit, this.#spread),
      this.canvas,
      el("p", { class: "channel-told" }, this.#state, this.#range),
    );
    this.about(about);
  }

  about(facts) {
    if (facts === undefined) return;
    this.#limits = [facts.low, facts.high];
    if (facts.description) this.node.title = facts.description;
    this.dirty = true;
  }

  /** Keep a sample and return its time in seconds. */
  take(sample, now_ms) {
    this.#sample = sample;
    this.#firstNs ??= BigInt(sample.timestamp_ns);
    this.#came_ms = now_ms;
    this.dirty = true;
    const time_s = Number(sample.timestamp_ns) / 1e9;
    this.#trace.add(time_s, numberOf(sample.value));
    return time_s;
  }

  /** What comes is not joined to what is held. */
  part() {
    this.#trace.part();
  }

  /** Let the line begin before its first sample; once, for a card that is seen. */
  begin(want, changed) {
    if (this.#hasBegun || this.#hasEnded) return;
    this.#hasBegun = true;
    const first_s = Number(this.#firstNs) / 1e9;
    want(this.node.dataset.channel, this.#firstNs, (points) => {
      this.#trace.begin(points, first_s);
      this.node.dataset.earlier = points.length;
      changed();
    });
  }

  paint(until_s, ink) {
    if (this.size === null) return;
    fit(this.canvas, this.size);
    const range = draw(this.#context, this.size, this.#trace, until_s, this.#limits, ink);
    write(this.#range, range === null ? "" : `${glance(range[0], 4)} … ${glance(range[1], 4)}`);
    if (this.dirty) this.tell();
    this.dirty = false;
  }

  /** Nothing more comes. */
  end() {
    this.#hasEnded = true;
    this.tell();
  }

  tell() {
    const sample = this.#sample;
    if (sample === null) return;
    const wrong = [outside(sample.value, this.#limits), flags(sample.status)].filter(Boolean).join(", ");
    const when = this.#hasEnded ? "last value of the run" : age((performance.now() - this.#came_ms) / 1000);
    write(this.#value, glance(sample.value));
    write(this.#unit, sample.unit);
    write(this.#spread, sample.uncertainty == null ? "" : `± ${glance(sample.uncertainty, 3)}`);
    write(this.#state, wrong === "" ? when : `${wrong} · ${when}`);
    this.#state.title = this.#state.textContent;
    this.node.dataset.level = wrong === "" ? "ok" : "warn";
  }
}

/** Words for a value that has left its alarm band. */
function outside(value, [low, high]) {
  const number = numberOf(value);
  if (low != null && number < low) return `below ${glance(low)}`;
  return high != null && number > high ? `above ${glance(high)}` : "";
}

function measured(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  return width === 0 ? null : { width, height, ratio: devicePixelRatio };
}

function fit(canvas, { width, height, ratio }) {
  const wide = Math.round(width * ratio);
  const high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
}

function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}
