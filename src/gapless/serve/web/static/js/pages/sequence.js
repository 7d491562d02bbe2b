// The page of one sequence: tabs over one view of it, whose state is in the address.

import { byId, el, replace } from "../core/dom.js";
import * as message from "../core/message.js";
import * as place from "../core/place.js";
import { onSetting } from "../core/settings.js";
import { describe } from "../sequence/description.js";
import { firstFields } from "../sequence/first_fields.js";
import { showHead } from "../sequence/head.js";
import { SequenceTabs } from "../sequence/sequence_tabs.js";
import { Marks } from "../sequence/marks.js";
import { View, nanoseconds } from "../sequence/view.js";
import { Follow } from "../sequence/follow.js";

const name = decodeURIComponent(location.pathname.replace(/^\/sequences\//, ""));
const views = byId("views");

async function start() {
  message.busy(views, "Reading the sequence…");
  try {
    const description = await describe(name);
    show(description, await firstFields(description, place.read().get("topic")));
  } catch (error) {
    message.failed(views, error, start);
  }
}

function show(description, fields) {
  const { extent } = description;
  const view = extent === null ? null : new View(extent.startNs, extent.endNs);
  const readPlace = () => view.readPlace(fields, (link) => description.fieldOf(link));
  if (view !== null) readPlace();
  openPlots(view);
  tellWrongTimes();
  const marks = new Marks(description.path);
  const tabs = new SequenceTabs(views, { view, description, marks });
  showHead(byId("head"), description, tabs);
  marks.load();
  if (view !== null) {
    place.onReturn(readPlace);
    onSetting("zone", readPlace);
  }
  if (description.isOpen) new Follow(name, { tell: (grown) => grow(grown, { view, tabs, marks }), failed: tellLost });
}

// A link to a span or to fields means the plots, whoever made it.
function openPlots(view) {
  const said = place.read();
  if (view === null || said.has("tab") || !(said.has("from") || said.has("fields"))) return;
  place.write({ tab: "plots" });
  if (said.has("from") && said.has("to")) view.lookAt(view.fromNs, view.toNs);
}

// A link may have been cut or typed: what is shown then is not what it meant.
function tellWrongTimes() {
  const said = place.read();
  const wrong = ["from", "to", "cursor"].filter((key) => said.has(key) && nanoseconds(said.get(key)) === null);
  for (const key of wrong) message.toast(`${key}=${said.get(key)} is no time in ns: it is passed over`, "warn");
  const [from, to] = ["from", "to"].map((key) => nanoseconds(said.get(key)));
  if (from !== null && to !== null && to < from) message.toast("The span of this link ends before it begins", "warn");
}

function grow(description, { view, tabs, marks }) {
  if (view === null) {
    if (description.extent !== null) location.reload(); // its first rows: now there is a time axis
    return;
  }
  const { startNs, endNs } = description.extent;
  const isWhole = view.fromNs === view.startNs && view.toNs === view.endNs;
  const grownNs = endNs - view.endNs;
  view.setExtent(startNs, endNs);
  if (isWhole) view.showAll({ push: false });
  else if (tabs.isFollowing && grownNs > 0n) view.setSpan(endNs - (view.toNs - view.fromNs), endNs);
  showHead(byId("head"), description, tabs);
  tabs.describe(description);
  if (grownNs > 0n || !description.isOpen) marks.load();
}

function tellLost(error) {
  replace(byId("head"), el("h1", {}, name), message.failure(error));
}

start();
