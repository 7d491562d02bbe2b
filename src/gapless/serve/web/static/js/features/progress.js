// What the events of a training say: curves of its metrics by epoch, and how far it is. No DOM.

/** Takes events in order. A training that begins anew under the same id begins new curves. */
export class Progress {
  constructor() {
    this.epochs = []; // {index, metrics}: numbers only
    this.notes = []; // {number, timestamp, words}: phases, classes, messages
    this.total = 0;
    this.classes = null; // {index, total, name}
    this.phase = "";
  }

  /** Add one event as the API tells it. */
  add(event) {
    if (event.step_type === "epoch") this._epoch(event);
    else if (event.step_type === "class") this._class(event);
    else this._phase(event);
  }

  /** The names of the metrics, in the order in which they were first told. */
  get names() {
    return [...new Set(this.epochs.flatMap(({ metrics }) => Object.keys(metrics)))];
  }

  /** Return the curves of some metrics: [{name, x, y}], x is the epoch. */
  series(names) {
    return names.map((name) => {
      const there = this.epochs.filter(({ metrics }) => name in metrics);
      return { name, x: there.map(({ index }) => index), y: there.map(({ metrics }) => metrics[name]) };
    });
  }

  /** The newest value of a metric, null before there is one. */
  latest(name) {
    return this.epochs.findLast(({ metrics }) => name in metrics)?.metrics[name] ?? null;
  }

  /** How far it is, in words; "" where nothing tells. */
  get words() {
    const epoch = this.epochs.at(-1);
    const told = [];
    if (this.phase !== "") told.push(this.phase);
    if (this.classes !== null) {
      told.push(`class ${this.classes.index + 1} of ${this.classes.total}: ${this.classes.name}`);
    }
    if (epoch !== undefined) {
      told.push(this.total > 0 ? `epoch ${epoch.index} of ${this.total}` : `epoch ${epoch.index}`);
    }
    return told.join(" · ");
  }

  _epoch({ step_index: index, step_total: total, metrics }) {
    const last = this.epochs.at(-1)?.index ?? -Infinity;
    if (index < last) this.epochs = [];
    const numbers = Object.entries(metrics).filter(([, value]) => typeof value === "number");
    this.epochs.push({ index, metrics: Object.fromEntries(numbers) });
    this.total = total;
  }

  _class({ step_index: index, step_total: total, message, number, timestamp }) {
    this.classes = { index, total, name: message };
    this.notes.push({ number, timestamp, words: `class ${index + 1} of ${total}: ${message}` });
  }

  _phase({ metrics, message, number, timestamp }) {
    this.phase = String(metrics.phase ?? "");
    this.notes.push({ number, timestamp, words: [this.phase, message].filter(Boolean).join(": ") });
  }
}
