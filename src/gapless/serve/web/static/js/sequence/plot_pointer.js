// The pointer over the figures: it moves the cursor, holds it with a click, and draws the span of a label.

const CLICK_PIXELS = 4;

/** Listens before the charts do, so that a drag that draws never pans as well. */
export class PlotPointer {
  #drawing = null;
  #pressed = null;

  constructor(area, view, stack, tools, labelling) {
    Object.assign(this, { area, view, stack, tools, labelling });
    this.isHeld = view.cursorNs !== null;
    const capture = { capture: true };
    area.addEventListener("pointerdown", (event) => this.#down(event), capture);
    area.addEventListener("pointermove", (event) => this.#move(event), capture);
    area.addEventListener("pointerup", (event) => this.#up(event), capture);
    area.addEventListener("pointercancel", () => this.cancel(), capture);
    addEventListener("keydown", (event) => event.key === "Escape" && this.cancel());
  }

  #isInside(event) {
    return this.stack.figures.some(({ chart }) => {
      const { area } = chart;
      if (area === null) return false;
      const isAcross = event.clientX >= area.left - 1 && event.clientX <= area.right + 1;
      return isAcross && event.clientY >= area.top && event.clientY <= area.bottom;
    });
  }

  #down(event) {
    if (event.button !== 0 || !this.#isInside(event)) return;
    this.#pressed = event;
    if (this.tools.way !== "label" && !event.shiftKey) return;
    event.stopPropagation();
    event.preventDefault();
    this.area.focus({ preventScroll: true });
    this.area.setPointerCapture(event.pointerId);
    const ns = this.stack.timeAt(event.clientX);
    this.#drawing = { from: ns, to: ns };
  }

  #move(event) {
    const ns = this.stack.timeAt(event.clientX);
    if (this.#drawing !== null) {
      event.stopPropagation();
      this.#drawing.to = ns;
      this.stack.draw(this.#span());
    } else if (!this.isHeld && ns !== null && event.buttons === 0 && this.#isInside(event)) {
      this.view.setCursor(ns);
    }
  }

  #up(event) {
    const pressed = this.#pressed;
    this.#pressed = null;
    if (pressed === null) return;
    const isClick = Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < CLICK_PIXELS;
    if (this.#drawing === null) {
      if (isClick) this.#hold(event);
      return;
    }
    event.stopPropagation();
    this.#drawing.to = this.stack.timeAt(event.clientX);
    const span = this.#span();
    if (isClick) this.cancel();
    else this.labelling(span).finally(() => this.cancel());
  }

  // The first click puts the cursor down; the next one takes it up again, so that it follows the pointer.
  #hold(event) {
    this.isHeld = !this.isHeld;
    if (this.isHeld) this.view.setCursor(this.stack.timeAt(event.clientX));
  }

  #span() {
    const { from, to } = this.#drawing;
    return from <= to ? { startNs: from, endNs: to } : { startNs: to, endNs: from };
  }

  /** Draw no span. */
  cancel() {
    this.#drawing = null;
    this.stack.draw(null);
  }
}
