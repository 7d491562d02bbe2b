// The tabs of a sequence, each made when it is first looked at; what a sequence does not have is no tab.

import { el } from "../core/dom.js";
import { empty } from "../core/message.js";
import { tabs } from "../core/tabs.js";
import { Cameras } from "./cameras.js";
import { Export } from "./export.js";
import { Labels } from "./labels.js";
import { Overview } from "./overview.js";
import { tick } from "./plot_tools.js";
import { Plots } from "./plots.js";
import { Rows } from "./rows.js";
import { Track } from "./track.js";

/** Fills a node with the tabs; `view` is null while there are no rows. */
export class SequenceTabs {
  #made = new Map();

  constructor(node, { view, description, marks }) {
    Object.assign(this, { view, description, marks, isFollowing: false });
    this.followBox = tick("Follow", false, (isOn) => (this.isFollowing = isOn)).node;
    if (view !== null) this.#share();
    this.choice = tabs(node, { label: description.name, tabs: this.#tabs() });
  }

  // What more than one tab shows: labels and cameras.
  #share() {
    const { view, marks, description } = this;
    const seen = () => this.choice.select("plots");
    this.labels = new Labels(el("section", { class: "card stack labels" }), view, marks, { onlook: seen });
    this.cameras = new Cameras(view, description.cameras);
    this.besidePlots = el("div", { class: "plots-cameras" });
    view.on("cameras", () => this.#placeCameras());
  }

  #tabs() {
    const { description, view, marks } = this;
    const once = (key, make) => (panel) => {
      if (!this.#made.has(key)) this.#made.set(key, make(panel));
      return this.#made.get(key);
    };
    const hasMedia = description.cameras.length > 0;
    const track = (panel) => new Track(panel, view, { description, marks });
    return [
      { key: "overview", title: "Overview", show: once("overview", (panel) => this.#overview(panel)) },
      { key: "plots", title: "Plots", ...this.#plots(once) },
      hasMedia && view && { key: "pictures", title: "Pictures", ...this.#pictures() },
      { key: "rows", title: "Table", show: once("rows", (panel) => this.#needsRows(panel, Rows)) },
      description.tracks.length > 0 && view && { key: "map", title: "Map", show: once("map", track) },
      { key: "export", title: "Export", show: once("export", (panel) => this.#export(panel)) },
    ].filter(Boolean);
  }

  #needsRows(panel, Kind) {
    if (this.view !== null) return new Kind(panel, this.view, this.description);
    if (this.description.isOpen) empty(panel, "No rows yet.", "This page shows them as soon as they are durable.");
    else empty(panel, "No rows.", "The recording ended without any.");
    return null;
  }

  #overview(panel) {
    const { view, description, marks } = this;
    const onlook = (fromNs, toNs) => {
      view.setSpan(fromNs, toNs, { push: true });
      this.choice.select("plots");
    };
    const onplot = (fields) => {
      view.setFields(fields);
      this.choice.select("plots");
    };
    return new Overview(panel, { view, description, marks, onlook, onplot });
  }

  #plots(once) {
    const make = once("plots", (panel) => {
      if (this.view === null) return this.#needsRows(panel, null);
      const { view, description, marks, labels } = this;
      const labelling = (span) => labels.make(span);
      const made = new Plots(panel, {
        view, description, marks, labelling, labelsNode: labels.node, camerasNode: this.besidePlots,
      });
      if (description.cameras.length > 0) {
        made.tools.add(tick("Pictures", view.cameras, (isOn) => view.setCameras(isOn)).node);
      }
      return made;
    });
    return {
      show: (panel) => {
        make(panel);
        this.isPlots = true;
        this.#placeCameras();
      },
      hide: () => {
        this.isPlots = false;
        this.cameras?.leave();
      },
    };
  }

  #placeCameras() {
    if (!this.isPlots || !this.cameras) return;
    if (this.view.cameras) this.cameras.moveTo(this.besidePlots);
    else this.cameras.leave();
    this.#made.get("plots").stack.build(); // the figures fill what is left of the window
  }

  #pictures() {
    return {
      show: (panel) => this.cameras.moveTo(panel),
      hide: () => this.cameras.leave(),
    };
  }

  #export(panel) {
    if (this.view === null) return this.#needsRows(panel, null);
    const { view, description } = this;
    return new Export(panel, { view, description, whilePlotted: (work) => this.#whilePlotted(work) });
  }

  // What is not on screen has no pixels: the plots are shown for as long as it takes.
  async #whilePlotted(work) {
    this.choice.select("plots", { push: false });
    const plots = this.#made.get("plots");
    await plots.drawn();
    await work(plots);
    this.choice.select("export", { push: false });
  }

  /** Take over what a recording has become. */
  describe(description) {
    this.description = description;
    for (const key of ["overview", "plots"]) this.#made.get(key)?.describe(description);
    this.cameras?.refresh();
  }
}
