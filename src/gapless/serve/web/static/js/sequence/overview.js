// The tab that says what the sequence is: state, times, topics, ledger, metadata, where it comes from.

import * as api from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { bytes, count, duration, time, utc } from "../core/format.js";
import { busy, failed } from "../core/message.js";
import { copyButton } from "./clipboard.js";
import { instant } from "./description.js";
import { examination } from "./examination.js";
import { Listing, findingsBeside } from "./beside.js";
import { plainTable } from "./plain_table.js";
import { rescue } from "./rescue.js";
import { Timeline } from "./timeline.js";
import { valueTree } from "./value_tree.js";

/** Fills a panel; `onlook(fromNs, toNs)` opens the plots on a span, `onplot(fields)` on fields. */
export class Overview {
  constructor(panel, { view, description, marks, onlook, onplot }) {
    Object.assign(this, { view, description, marks, onlook, onplot });
    const timeline = el("div", { class: "timeline-area" });
    this.facts = el("section", { class: "card", "aria-label": "Facts" });
    this.topics = el("section", { class: "card stack" });
    this.beside = el("div", { class: "grid" });
    const { metadata } = description.raw;
    const known = el("section", { class: "card" }, el("h2", {}, "Metadata"), valueTree(metadata, "metadata"));
    replace(
      panel,
      el(
        "div",
        { class: "stack overview" },
        rescue(description),
        this.#notifications(),
        el("section", { class: "card stack" }, el("h2", {}, "Timeline"), timeline),
        el("div", { class: "grid" }, this.facts, known),
        this.topics,
        this.beside,
        examination(description),
        el("div", { class: "grid" }, this.#asked("Provenance", "provenance", provenance), this.#artifacts()),
      ),
    );
    if (view !== null) {
      this.timeline = new Timeline(timeline, { view, description, marks, onlook });
      this.timeline.draw();
    } else {
      const words = description.isOpen ? "No rows yet." : "No rows: the recording ended without any.";
      replace(timeline, el("p", { class: "muted" }, words));
    }
    marks.on(() => this.#listBeside());
    view?.on("axis", () => {
      this.#draw();
      this.#listBeside();
    });
    this.listing = new Listing(() => this.#listBeside());
    this.#draw();
  }

  /** Take over what a recording has become. */
  describe(description) {
    this.description = description;
    if (this.timeline) this.timeline.description = description;
    this.timeline?.draw();
    this.#draw();
  }

  #listBeside() {
    replace(this.beside, findingsBeside(this.marks, this.view, this.onlook, this.listing));
  }

  #draw() {
    const { raw } = this.description;
    replace(this.facts, el("h2", {}, "Facts"), factList(raw));
    replace(this.topics, el("h2", {}, "Topics and ledger"), this.#ledger(raw), this.#topicTable());
  }

  #ledger({ ledger }) {
    const keys = ["produced", "written", "dropped", "gapped"];
    const [produced, ...parts] = keys.map((key) => `${count(ledger[key])} ${key}`);
    const [level, words] = judgement(this.description.raw);
    const judged = el("span", { class: "badge", "data-level": level }, words);
    return el("p", {}, judged, ` ${produced} = ${parts.join(" + ")}`);
  }

  #topicTable() {
    const columns = [
      { title: "Topic", render: (topic) => this.#topicName(topic) },
      { title: "Type", render: (topic) => topic.tag ?? "–" },
      { title: "Rows", render: (topic) => count(topic.rows), align: "end" },
      { title: "Rate", render: rate, align: "end" },
      { title: "Lasts", render: (topic) => duration(lasts(topic)), align: "end" },
      { title: "Written", render: (topic) => count(topic.raw.ledger.written), align: "end" },
      { title: "Dropped", render: (topic) => count(topic.raw.ledger.dropped), align: "end" },
      { title: "Gapped", render: (topic) => count(topic.raw.ledger.gapped), align: "end" },
      { title: "Size", render: (topic) => bytes(topic.raw.bytes), align: "end" },
    ];
    return plainTable("Topics", columns, this.description.topics);
  }

  #topicName(topic) {
    const fields = topic.foremost.slice(0, 4).map((field) => ({ topic: topic.name, field: field.name }));
    if (fields.length === 0 || topic.rows === 0) return topic.name;
    const title = `Plot ${fields.map(({ field }) => field).join(", ")}`;
    return el("button", { type: "button", class: "link", title, onclick: () => this.onplot(fields) }, topic.name);
  }

  #asked(title, path, show) {
    const told = el("div");
    const load = async () => {
      busy(told);
      try {
        replace(told, show(await api.get(`${this.description.path}/${path}`)));
      } catch (error) {
        failed(told, error, load);
      }
    };
    load();
    return el("section", { class: "card stack" }, el("h2", {}, title), told);
  }

  // What the recording wants a person to know; most have nothing to say.
  #notifications() {
    const card = this.#asked("Notifications", "notifications", ({ notifications }) => {
      card.hidden = notifications.length === 0;
      return el("ul", {}, notifications.map((told) => el("li", {}, told.message, notified(told))));
    });
    return card;
  }

  #artifacts() {
    if (this.description.raw.artifacts === 0) return null;
    return this.#asked("Artifacts", "artifacts", ({ artifacts }) => {
      return el("ul", {}, artifacts.map((artifact) => this.#artifact(artifact)));
    });
  }

  #artifact({ name, media_type: kind, bytes: size, uri, missing, here }) {
    const path = `${this.description.path}/artifacts/${api.segment(name)}`;
    const link = here ? el("a", { href: api.address(path), download: true }, name) : name;
    const where = here ? null : missing ? " was not there when the sequence was sealed" : ` at ${uri}`;
    return el("li", {}, link, where, el("span", { class: "muted" }, ` ${kind}, ${bytes(size)}`));
  }
}

function notified({ source, timestamp_ns: ns }) {
  const about = [source, ns && time(ns, { precision: "ms" })].filter(Boolean).join(", ");
  return about ? el("span", { class: "muted" }, ` ${about}`) : null;
}

function factList(raw) {
  const digest = raw.content_digest;
  const facts = [
    ["State", raw.state === "sealed" ? `sealed, ${raw.outcome}` : [raw.status, away(raw)]],
    ["Cause", raw.cause],
    ["Health", el("span", { class: "badge", "data-level": raw.health.level }, raw.health.words)],
    ["Group", raw.group],
    ["Starts", moment(raw.start_ns)],
    ["Lasts", raw.duration_ns === null ? null : duration(raw.duration_ns)],
    ["Recorded", moment(raw.created_ns)],
    ["Sealed", moment(raw.sealed_ns)],
    ["Recorded by", producer(raw.producer)],
    ["Rows", count(raw.rows)],
    ["Size", bytes(raw.bytes)],
    ["Digest", digest && [el("code", { class: "overview-digest" }, digest), " ", copyButton("Copy", () => digest)]],
    ["Layers", layers(raw.layers)],
  ];
  const known = facts.filter(([, fact]) => fact !== null && fact !== undefined && fact !== "");
  return el("dl", { class: "facts" }, known.map(([word, fact]) => [el("dt", {}, word), el("dd", {}, fact)]));
}

function moment(ns) {
  return ns === null ? null : el("time", { title: utc(ns) }, time(ns, { precision: "ms" }));
}

function producer(known) {
  if (!known) return null;
  const { host, pid, version } = known;
  return [host, pid && `process ${pid}`, version && `gapless ${version}`].filter(Boolean).join(", ");
}

function layers(known) {
  if (known.length === 0) return null;
  const item = (layer) => el("li", {}, layer.name, el("span", { class: "muted" }, " ", layerState(layer)));
  return el("ul", {}, known.map(item));
}

function layerState(layer) {
  const { state, owner_alive: isAlive, awaited_until_ns: awaitedNs, content_digest: digest } = layer;
  if (state === "sealed") return digest;
  if (awaitedNs !== null) return ["open, client away", away(layer)];
  return state === "open" && !isAlive ? "open, owner gone" : state;
}

// A client on another machine that may go on is waited for: an hour, with a spool a week.
function away({ awaited_until_ns: ns }) {
  return ns === null ? null : [", may come back until ", moment(ns)];
}

// What is not sealed may yet turn out to lack rows: nobody knows before it is sealed or recovered.
function judgement({ ledger, state, live }) {
  if (ledger.dropped > 0 || ledger.gapped > 0) return ["warn", "rows missing"];
  if (state === "sealed") return ["ok", "nothing missing"];
  return live ? ["live", "nothing missing so far"] : ["warn", "not known before it is sealed"];
}

function lasts(topic) {
  return topic.startNs === null ? null : instant(topic.endNs) - instant(topic.startNs);
}

function rate(topic) {
  const length = Number(lasts(topic) ?? 0n) / 1e9;
  return length > 0 && topic.rows > 1 ? `${Number(((topic.rows - 1) / length).toPrecision(4))}/s` : "–";
}

function provenance({ sequence, layers: above }) {
  const known = above.filter((layer) => layer.provenance !== null);
  if (sequence === null && known.length === 0) return el("p", { class: "muted" }, "None was kept.");
  return [
    sequence && valueTree(sequence),
    known.map((layer) => [el("h3", {}, `Layer ${layer.layer}`), valueTree(layer.provenance)]),
  ];
}
