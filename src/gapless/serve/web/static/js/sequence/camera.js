// One camera: the picture at the cursor, a slider over its pictures, and its video.
//
// What stands still is always the stored picture itself; the video is shown only while it plays, and each of its
// pictures moves the cursor to its own time.

import * as api from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count } from "../core/format.js";
import * as message from "../core/message.js";
import { exactTime } from "./exact.js";
import { FrameTimes } from "./frame_times.js";

/** Shows a topic of pictures in a node of its own. */
export class Camera {
  #wanted = null;
  #isLoading = false;
  #isPlaying = false;
  #turn = 0;

  constructor(topic, view) {
    Object.assign(this, { topic, view });
    this.frames = new FrameTimes(topic.path);
    this.picture = el("img", { class: "camera-picture", alt: "" });
    this.video = el("video", { class: "camera-video", muted: true, playsinline: true, preload: "none" });
    this.video.muted = true;
    const range = { type: "range", min: "0", max: "0", step: "1" };
    this.slider = el("input", { ...range, "aria-label": `Picture of ${topic.name}` });
    this.play = el("button", { type: "button", class: "button", onclick: () => this.toggle() }, "Play");
    this.told = el("output", { class: "camera-told" });
    this.note = el("div");
    this.node = this.#layout();
    this.slider.addEventListener("input", () => this.#scrub(Number(this.slider.value)));
    this.video.addEventListener("ended", () => this.#end());
    this.video.addEventListener("error", () => this.#videoFailed());
    this.loading = this.load();
  }

  #layout() {
    const bar = el("div", { class: "camera-bar" }, this.play, this.slider);
    const name = el("figcaption", { class: "camera-name" }, this.topic.name, " ", this.told);
    const stage = el("div", { class: "camera-stage" }, this.picture, this.video);
    return el("figure", { class: "camera", "data-topic": this.topic.name }, stage, name, bar, this.note);
  }

  /** Load the times of the pictures, or of those that came since, and show the one at the cursor. */
  async load() {
    try {
      await this.frames.load();
    } catch (error) {
      message.failed(this.note, error, () => this.load());
      return;
    }
    this.slider.max = String(Math.max(0, this.frames.length - 1));
    this.play.hidden = !this.frames.hasVideo;
    replace(this.note, this.frames.isCut ? el("p", { class: "hint" }, "Only the first pictures are listed.") : null);
    if (this.frames.length === 0) message.empty(this.note, "No pictures yet.");
    else this.follow();
  }

  /** Show the picture at the cursor, or of the start of the span without one. */
  follow() {
    if (this.frames.length === 0 || this.#isPlaying) return;
    this.#show(this.frames.at(this.view.cursorNs ?? this.view.fromNs));
  }

  #scrub(index) {
    this.pause();
    this.view.setCursor(this.frames.time(index));
    this.#show(index);
  }

  #show(index) {
    this.#say(index);
    this.#wanted = index;
    this.#fetch();
  }

  #say(index) {
    const { axis, originNs } = this.view;
    const when = exactTime(this.frames.time(index), axis, originNs);
    this.slider.value = String(index);
    this.slider.setAttribute("aria-valuetext", `${when}, picture ${this.frames.numbers[index]}`);
    replace(this.told, `picture ${count(this.frames.numbers[index])}, ${when}`);
  }

  // One picture is on its way at a time; where the cursor was meanwhile does not matter, only where it is.
  async #fetch() {
    if (this.#isLoading || this.#wanted === null) return;
    const index = this.#wanted;
    this.#wanted = null;
    if (String(index) === this.picture.dataset.index) return;
    this.#isLoading = true;
    this.node.setAttribute("aria-busy", "true");
    await this.#draw(index);
    this.#isLoading = false;
    this.node.setAttribute("aria-busy", "false");
    this.#fetch();
  }

  async #draw(index) {
    const depth = this.frames.pixels === "mono16" ? "8bit" : null;
    const asked = { time_ns: this.frames.time(index), mode: "at", view: depth };
    const path = `${this.topic.path}/picture`;
    const arriving = new Image();
    arriving.src = api.address(path, asked);
    try {
      await arriving.decode();
    } catch (fault) {
      message.failed(this.note, await refusal(path, asked, fault));
      return;
    }
    this.picture.src = arriving.src;
    this.picture.dataset.index = String(index);
    this.picture.dataset.number = String(this.frames.numbers[index]);
    this.picture.alt = `${this.topic.name}, picture ${this.frames.numbers[index]}`;
    replace(this.note);
  }

  /** Play the video from the cursor on, or pause it. */
  toggle() {
    if (this.#isPlaying) this.pause();
    else this.#start();
  }

  async #start() {
    if (!this.video.src) this.video.src = api.address(`${this.topic.path}/video`);
    const index = this.frames.at(this.view.cursorNs ?? this.view.fromNs);
    const isLast = index >= this.frames.length - 1;
    this.video.currentTime = this.frames.secondOf(isLast ? 0 : index);
    this.#isPlaying = true;
    this.#turn += 1;
    replace(this.play, "Pause");
    this.#step(this.#turn);
    try {
      await this.video.play();
    } catch (fault) {
      if (fault.name !== "AbortError") this.#videoFailed(); // a pause that came first is no fault
    }
  }

  #step(turn) {
    this.video.requestVideoFrameCallback((_, { mediaTime }) => {
      if (turn !== this.#turn || !this.#isPlaying) return;
      this.video.toggleAttribute("data-playing", true);
      this.#present(this.frames.shownAt(mediaTime));
      this.#step(turn);
    });
  }

  #present(index) {
    this.video.dataset.index = String(index);
    this.#say(index);
    this.view.setCursor(this.frames.time(index));
  }

  // A player may say that it ended before it says that it shows the last picture.
  #end() {
    if (this.#isPlaying) this.#present(this.frames.shownAt(Infinity));
    this.pause();
  }

  /** Stop playing; the stored picture at the cursor takes the place of the video's. */
  pause() {
    if (!this.#isPlaying) return;
    this.#isPlaying = false;
    this.video.pause();
    replace(this.play, "Play");
    this.video.toggleAttribute("data-playing", false);
    this.follow();
  }

  #videoFailed() {
    if (!this.video.src) return;
    this.pause();
    const told = { message: "this browser does not play the video", next: "move the slider: it shows every picture" };
    message.failed(this.note, told);
  }
}

// An <img> does not say why it failed; asking once more does.
async function refusal(path, asked, fault) {
  try {
    await api.get(path, asked);
  } catch (error) {
    if (error instanceof api.ApiError) return error;
  }
  return { message: "the picture cannot be shown", found: String(fault), next: "try again" };
}
