// What the cameras of a recording see: each one's newest durable picture, renewed while somebody looks at it.
//
// One picture is on its way at a time, however many cameras there are: a browser opens only six connections to a
// server, and an emergency stop must find one free.

import { ApiError, file, get, segment } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count } from "../core/format.js";

const RENEW_MS = 1000;
const LOOK_MS = 3000;

/** Show pictures in a node. Returns {take(frames), close()}; frames are {CAMERA: {frame_idx, timestamp_ns}}. */
export function livePictures(node, name) {
  const path = `/sequences/${segment(name)}`;
  const cameras = new Map();
  const row = el("div", { class: "live-pictures" });
  const link = el("a", { href: `${path}?tab=pictures` }, "All pictures so far");
  let looked_ms = -Infinity;
  let isBusy = false;
  replace(node, row);

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) cameras.get(entry.target.dataset.camera).isSeen = entry.isIntersecting;
  });
  const renewing = setInterval(() => {
    if (!document.hidden && !isBusy) renew();
  }, RENEW_MS);

  async function renew() {
    isBusy = true;
    await look();
    for (const camera of cameras.values()) await camera.renew();
    isBusy = false;
  }

  // Pictures can be asked for once some are durable; a camera that the recording leaves out never has any.
  async function look() {
    const lacking = [...cameras.values()].filter((camera) => !camera.isKept);
    if (lacking.length === 0 || performance.now() - looked_ms < LOOK_MS) return;
    looked_ms = performance.now();
    const kept = await topicsWithRows(path);
    for (const camera of lacking) camera.isKept = kept.has(camera.name);
    if (lacking.some(({ isKept }) => isKept)) node.append(link);
  }

  function take(frames) {
    for (const [camera, { timestamp_ns: stamp }] of Object.entries(frames)) {
      if (!cameras.has(camera)) {
        cameras.set(camera, new LivePicture(path, camera));
        row.append(cameras.get(camera).node);
        seen.observe(cameras.get(camera).node);
      }
      cameras.get(camera).newest = stamp;
    }
  }

  return {
    take,
    close() {
      clearInterval(renewing);
      seen.disconnect();
    },
  };
}

/** The names of topics that have rows; none while the server does not tell. */
async function topicsWithRows(path) {
  try {
    const { topics } = await get(path);
    return new Set(topics.filter(({ rows }) => rows > 0).map((topic) => topic.name));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return new Set();
  }
}

class LivePicture {
  isKept = false;
  isSeen = false;
  newest = null;
  #shown = null;

  constructor(path, name) {
    this.name = name;
    this.path = `${path}/topics/${segment(name)}/picture`;
    this.words = el("figcaption", { class: "muted" }, `${name}: no picture yet`);
    this.picture = el("img", { alt: "", hidden: true });
    this.node = el("figure", { class: "live-picture", "data-camera": name }, this.picture, this.words);
  }

  /** Show the newest picture, unless it is there already or out of sight. */
  async renew() {
    const wanted = this.newest;
    if (!this.isKept || !this.isSeen || wanted === this.#shown) return;
    try {
      this.#show(await file(this.path, { time_ns: wanted, mode: "nearest", view: "8bit" }));
      this.#shown = wanted;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.words.textContent = `${this.name}: ${error.message}`;
    }
  }

  #show({ blob, headers }) {
    const words = `${this.name}, picture ${count(Number(headers.get("X-Gapless-Frame")))}`;
    const before = this.picture.src;
    this.picture.src = URL.createObjectURL(blob);
    if (before) URL.revokeObjectURL(before);
    this.picture.hidden = false;
    this.picture.alt = words;
    this.words.textContent = words;
  }
}
