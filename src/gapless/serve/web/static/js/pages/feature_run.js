// The page of one feature run, or of one model: the address says which with ?kind=model.

import { get, segment } from "../core/api.js";
import { byId } from "../core/dom.js";
import { busy, failed } from "../core/message.js";
import { read } from "../core/place.js";
import { onSetting } from "../core/settings.js";
import { showLineage } from "../features/lineage_view.js";
import { showModel } from "../features/model_view.js";
import { showRun } from "../features/run_view.js";

const { feature, run } = byId("run").dataset;
const places = { facts: byId("facts"), more: byId("more") };
const kind = read().get("kind") === "model" ? "model" : "run";
let told = null;

begin();
onSetting("zone", () => told !== null && kind === "run" && showRun(places, told));

async function begin() {
  busy(places.facts);
  try {
    told = await get(`/features/${kind}s/${segment(feature)}/${segment(run)}`);
    if (kind === "model") showModel(places, told);
    else showRun(places, told);
    await showLineage(byId("lineage"), feature, run, kind);
  } catch (error) {
    failed(places.facts, error, begin);
  }
}
