// What the lines begin with: the minute before the first sample that the page was told, as far as it is durable.
//
// Only channels that are looked at are asked for, one request at a time, so it costs what a plot of a minute costs.

import * as api from "../core/api.js";
import { offsetOf, timeAt } from "../core/frame.js";
import { pausesBefore } from "../sequence/pauses.js";
import { linkOf } from "../sequence/view.js";
import { WINDOW_S } from "./trace.js";

const FIELDS = 64; // the most that one request may name
const POINTS = 600;
const AGAIN_MS = 500;
const TRIES = 20; // what was told is durable within seconds
const OF_RUNS = "channels/"; // the topics of a run whose columns are called as its channels
const WINDOW_NS = BigInt(WINDOW_S) * 1_000_000_000n;

/**
 * Bring the rows before the first sample of channels of a recording. Returns {want(channel, firstNs, fill), close()}:
 * ``fill(points)`` gets [[time_s, value]] before ``firstNs``, oldest first, NaN at a pause; again, until they
 * reach it. ``failed`` is told an error once; no more is brought after it.
 */
export function earlier(name, failed) {
  const path = `/sequences/${api.segment(name)}`;
  const gone = new AbortController();
  let topics = []; // as they were when a channel was of none of them
  let wanted = [];
  let isAsking = false;

  async function ask() {
    isAsking = true;
    try {
      while (wanted.length > 0) {
        const asked = wanted.splice(0, FIELDS);
        const isUnknown = ({ channel }) => fieldOf(topics, channel) === null;
        if (asked.some(isUnknown)) topics = (await api.get(path, {}, { signal: gone.signal })).topics;
        const left = await brought(asked);
        wanted.push(...left);
        if (left.length > 0) await rest(AGAIN_MS);
      }
    } catch (error) {
      if (!api.isAborted(error)) failed(error);
      gone.abort();
    }
    isAsking = false;
  }

  // Returns those whose rows do not reach their first sample yet.
  async function brought(asked) {
    const lastNs = asked.reduce((last, { firstNs }) => (firstNs > last ? firstNs : last), asked[0].firstNs);
    const startNs = lastNs - WINDOW_NS;
    const tried = asked.map((one) => ({ ...one, field: fieldOf(topics, one.channel), tries: one.tries + 1 }));
    const unknown = tried.filter(({ field, tries }) => field === null && tries < TRIES); // may be declared yet
    const known = tried.filter(({ field, firstNs }) => field !== null && firstNs >= startNs);
    if (known.length === 0) return unknown;
    const params = { fields: known.map(({ field }) => field), start_ns: startNs, points: POINTS };
    const frame = await api.frame(`${path}/curves`, params, { signal: gone.signal });
    const short = known.filter(({ firstNs, fill, tries }, n) => {
      const rows = rowsOf(frame, n);
      if (rows === null) return false;
      const first = offsetOf(frame.baseNs, firstNs);
      fill(pointsBefore(rows, first, frame.baseNs));
      return tries < TRIES && !(rows.times.at(-1) >= first);
    });
    return [...unknown, ...short];
  }

  return {
    want(channel, firstNs, fill) {
      if (gone.signal.aborted) return;
      wanted.push({ channel, firstNs, fill, tries: 0 });
      if (!isAsking) queueMicrotask(ask);
      isAsking = true;
    },
    close() {
      wanted = [];
      gone.abort();
    },
  };
}

/** Return the field of a channel as curves are asked for, null for one that is not recorded. */
function fieldOf(topics, channel) {
  const has = ({ fields }, column) => fields.some((field) => field.name === column);
  for (const topic of topics) {
    if (channel === topic.name && has(topic, "value")) return linkOf({ topic: topic.name, field: "value" });
    if (channel.startsWith(`${topic.name}:`)) {
      return linkOf({ topic: topic.name, field: channel.slice(topic.name.length + 1) });
    }
  }
  const holder = topics.find((topic) => topic.name.startsWith(OF_RUNS) && has(topic, channel));
  return holder === undefined ? null : linkOf({ topic: holder.name, field: channel });
}

// Of buckets the least where they begin and the greatest where they end; null for texts, which are not drawn.
function rowsOf(frame, n) {
  const about = frame.header.fields[n];
  const column = (word) => frame.columns.get(`${n}.${word}`);
  if (about.kind === "counts" || about.words !== undefined) return null;
  if (about.kind === "rows") return { times: Array.from(column("time")), values: Array.from(column("value"), Number) };
  const [starts, ends, lows, highs] = ["start", "end", "min", "max"].map((word) => Array.from(column(word), Number));
  return {
    times: starts.flatMap((start, at) => [start, ends[at]]),
    values: lows.flatMap((low, at) => [low, highs[at]]),
  };
}

function pointsBefore({ times, values }, first, baseNs) {
  const isParted = pausesBefore(times);
  const seconds = (offset) => Number(timeAt(baseNs, offset)) / 1e9;
  return times.flatMap((time, n) => {
    if (time >= first) return [];
    const point = [seconds(time), values[n]];
    return isParted[n] ? [[(seconds(times[n - 1]) + point[0]) / 2, Number.NaN], point] : [point];
  });
}

function rest(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
