// The line to something that is being recorded: one WebSocket, for values and for everything that is told.
//
// It comes back by itself after a break, and is not held while nobody looks at the page. It is no stream of
// server-sent events: a browser opens only six connections for those and all requests together, and however many
// windows watch, an emergency stop must find one free.

import { get, segment, socket } from "../core/api.js";
import { on } from "../core/dom.js";

const PING_MS = 15_000;
const AGAIN_MS = [500, 1000, 2000, 4000];
const FINAL = new Set([401, 404, 409]); // asking again would not help

/**
 * Follow a recording. ``heard`` has listeners: hello, about, status, event, gap (each gets the words and an id),
 * samples, end, refused (gets an ApiError), and link, told "" while the line is up and else what is the matter.
 * Returns {close()}.
 */
export function follow(name, heard) {
  const line = new Line(name, heard);
  const look = () => (document.hidden ? line.rest() : line.begin());
  const unhear = on(document, "visibilitychange", look);
  look();
  return {
    close() {
      unhear();
      line.rest();
    },
  };
}

class Line {
  #path;
  #heard;
  #line = null;
  #tries = 0;
  #ping = null;
  #again = null;
  #over = false;

  constructor(name, heard) {
    this.#path = `/live/${segment(name)}`;
    this.#heard = heard;
  }

  begin() {
    if (this.#line !== null || this.#over) return;
    clearTimeout(this.#again);
    const line = socket(`${this.#path}/samples`, { told: true }, (message) => this.#take(message), {
      onopen: () => {
        this.#tries = 0;
        this.#ping = setInterval(() => line.send({ ping: Date.now() }), PING_MS);
        this.#heard.link("");
      },
      onclose: () => this.#lost(line),
    });
    this.#line = line;
  }

  rest() {
    const line = this.#line;
    this.#line = null;
    clearInterval(this.#ping);
    clearTimeout(this.#again);
    line?.close();
  }

  #take(message) {
    if (message.samples !== undefined) this.#heard.samples(message);
    else if (message.told !== undefined) this.#heard[message.told]?.(message.data, message.id);
    else if (message.end !== undefined) this.#ended(message.end);
  }

  #ended(end) {
    this.#over = true;
    this.rest();
    this.#heard.end(end);
  }

  #lost(line) {
    if (line !== this.#line) return; // closed by us
    this.#line = null;
    clearInterval(this.#ping);
    this.#heard.link("The server does not answer; what is shown may be old.");
    this.#again = setTimeout(() => this.#ask(), AGAIN_MS[Math.min(this.#tries, AGAIN_MS.length - 1)]);
    this.#tries += 1;
  }

  /** A browser does not tell why a WebSocket was refused: ask for the status, which does. */
  async #ask() {
    try {
      await get(this.#path);
    } catch (error) {
      if (FINAL.has(error.status)) {
        this.#over = true;
        this.#heard.refused(error);
        return;
      }
    }
    if (!document.hidden) this.begin();
  }
}
