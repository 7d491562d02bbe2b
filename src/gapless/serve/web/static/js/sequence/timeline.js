// The whole sequence as one timeline: what each topic covers, gaps, events and labels above each other.

import { el, replace, svg } from "../core/dom.js";
import { count, duration } from "../core/format.js";
import { timeTicks } from "./time_axis.js";
import { rowsWords } from "./words.js";

const LANE = 22;
const BAR = 10;
const TOP = 20;
const TICK_PIXELS = 120;
const MOST_TOPICS = 24;
const NARROW = 560;

/** Draws into a node; a click puts the cursor there, `onlook(fromNs, toNs)` is told of a mark to look at. */
export class Timeline {
  constructor(node, { view, description, marks, onlook }) {
    Object.assign(this, { node, view, description, marks, onlook });
    marks.on(() => this.draw());
    for (const name of ["cursor", "axis", "extent"]) view.on(name, () => this.draw());
    new ResizeObserver(() => this.draw()).observe(node);
  }

  /** Draw what is known now. */
  draw() {
    this.width = this.node.clientWidth;
    if (this.width === 0) return;
    this.left = this.width < NARROW ? 92 : 200;
    const lanes = this.#lanes();
    const height = TOP + lanes.length * LANE + 6;
    const picture = svg(
      "svg",
      { class: "timeline", width: this.width, height, role: "img", "aria-label": this.#words() },
      this.#axis(height),
      lanes.map((lane, n) => this.#lane(lane, TOP + n * LANE)),
      this.#cursor(height),
    );
    picture.addEventListener("click", (event) => this.#click(event));
    replace(this.node, picture, this.#cut());
  }

  #cut() {
    const { length } = this.description.ownTopics;
    const told = [];
    const { events, labels } = this.marks;
    const beside = [...events, ...labels].filter((mark) => !this.#isWithin(mark)).length;
    if (beside > 0) told.push(`Outside the times of the rows: ${count(beside)} of the events and labels.`);
    if (length > MOST_TOPICS) told.push(`The first ${MOST_TOPICS} of ${length} topics are drawn.`);
    if (this.marks.isCut) told.push("Only the first gaps and events are drawn.");
    return told.length ? el("p", { class: "hint" }, told.join(" ")) : null;
  }

  #words() {
    const { gaps, events, labels } = this.marks;
    return `Timeline: ${count(gaps.length)} gaps, ${count(events.length)} events, ${count(labels.length)} labels`;
  }

  #lanes() {
    const { marks, description } = this;
    const covered = description.ownTopics.slice(0, MOST_TOPICS).map((topic) => ({
      title: topic.name,
      kind: "topic",
      spans: topic.startNs === null ? [] : [{ startNs: topic.startNs, endNs: topic.endNs, words: extentWords(topic) }],
      over: marks.gapsOf(topic.name).map((gap) => ({ ...gap, words: gapWords(gap), kind: "gap" })),
    }));
    const beside = [
      { title: "events", kind: "event", spans: marks.events.map((event) => ({ ...event, words: eventWords(event) })) },
      { title: "labels", kind: "label", spans: marks.labels.map((label) => ({ ...label, words: label.name })) },
    ];
    const within = beside.map((lane) => ({ ...lane, spans: lane.spans.filter((mark) => this.#isWithin(mark)) }));
    return [...covered, ...within.filter((lane) => lane.spans.length > 0)];
  }

  #isWithin({ startNs, endNs }) {
    return endNs >= this.view.startNs && startNs <= this.view.endNs;
  }

  #x(ns) {
    const { startNs, endNs } = this.view;
    const share = Number(ns - startNs) / Number(endNs - startNs);
    return this.left + Math.min(1, Math.max(0, share)) * (this.width - this.left - 8);
  }

  #axis(height) {
    const { view } = this;
    const wanted = Math.max(2, Math.floor((this.width - this.left) / TICK_PIXELS));
    const { times, words } = timeTicks(view.startNs, view.endNs, view.axis, view.originNs, wanted);
    return times.map((ns, n) => {
      const x = this.#x(ns);
      const anchor = x > this.width - 40 ? "end" : "middle";
      return [
        svg("line", { class: "timeline-tick", x1: x, x2: x, y1: TOP - 4, y2: height }),
        svg("text", { class: "timeline-time", x, y: 12, "text-anchor": anchor }, words[n]),
      ];
    });
  }

  #lane(lane, top) {
    const most = Math.floor(this.left / 7);
    const title = shortened(lane.title, most);
    const place = { class: "timeline-name", x: 0, y: top + LANE / 2 + 4 };
    const name = svg("text", place, title, svg("title", {}, lane.title));
    const marks = [...lane.spans.map((span) => ({ ...span, kind: lane.kind })), ...(lane.over ?? [])];
    return svg("g", {}, name, this.#thin(marks).map((mark) => this.#mark(mark, top)));
  }

  // Marks of one kind that begin on the same pixel are drawn once; the first says how many there are.
  #thin(marks) {
    const seen = new Map();
    for (const mark of marks) {
      const pixels = [mark.startNs, mark.endNs].map((ns) => Math.round(this.#x(ns)));
      const key = [mark.kind, mark.severity, ...pixels].join(" ");
      const known = seen.get(key);
      if (known) known.more += 1;
      else seen.set(key, { ...mark, more: 0 });
    }
    return [...seen.values()];
  }

  #mark(mark, top) {
    const [from, to] = [this.#x(mark.startNs), this.#x(mark.endNs)];
    const words = mark.more ? `${mark.words} (and ${mark.more} more here)` : mark.words;
    return svg(
      "rect",
      {
        class: `timeline-${mark.kind}`,
        "data-severity": mark.severity ?? null,
        x: from,
        y: top + (LANE - BAR) / 2,
        width: Math.max(2, to - from),
        height: BAR,
        rx: 1.5,
        ondblclick: () => this.#look(mark),
      },
      svg("title", {}, words),
    );
  }

  #look(mark) {
    const room = (mark.endNs - mark.startNs) / 2n || 1_000_000_000n;
    this.onlook(mark.startNs - room, mark.endNs + room);
  }

  #cursor(height) {
    const { cursorNs } = this.view;
    if (cursorNs === null) return null;
    const x = this.#x(cursorNs);
    return svg("line", { class: "timeline-cursor", x1: x, x2: x, y1: TOP - 6, y2: height });
  }

  #click(event) {
    const x = event.clientX - this.node.getBoundingClientRect().left;
    if (x < this.left) return;
    const share = (x - this.left) / (this.width - this.left - 8);
    const { startNs, endNs } = this.view;
    this.view.setCursor(startNs + BigInt(Math.round(Math.min(1, share) * Number(endNs - startNs))));
  }
}

// Names of topics often differ in their ends only: what is left out is the middle.
function shortened(name, most) {
  if (name.length <= most) return name;
  const head = Math.floor((most - 1) / 3);
  return `${name.slice(0, head)}…${name.slice(name.length - (most - 1 - head))}`;
}

function extentWords(topic) {
  return `${topic.name}: ${rowsWords(topic.rows)} in ${duration(topic.endNs - topic.startNs)}`;
}

function gapWords(gap) {
  const missing = gap.count === null ? "an unknown number of rows" : rowsWords(gap.count);
  return `gap in ${gap.topic === "*" ? "all topics" : gap.topic}: ${missing} missing, ${gap.cause}`;
}

function eventWords(event) {
  return `${event.severity}: ${event.message || event.kind}`;
}
