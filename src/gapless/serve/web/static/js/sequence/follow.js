// Keeps the page with a recording that goes on: new rows, new topics, its end.

import { describe } from "./description.js";

const PAUSE_MS = 2000;

/** Looks at an open sequence every two seconds while the page is seen; `tell(description)` after each look. */
export class Follow {
  #timer = 0;
  #isOver = false;

  constructor(name, { tell, failed }) {
    Object.assign(this, { name, tell, failed });
    document.addEventListener("visibilitychange", () => this.#plan());
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    if (!document.hidden && !this.#isOver) this.#timer = setTimeout(() => this.#look(), PAUSE_MS);
  }

  async #look() {
    try {
      const description = await describe(this.name);
      this.#isOver = !description.isOpen;
      this.tell(description);
    } catch (error) {
      this.failed(error);
    }
    this.#plan();
  }
}
