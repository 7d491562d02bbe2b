// The page of features: pipelines, runs, models and trainings, each on a tab.

import { get } from "../core/api.js";
import { byId } from "../core/dom.js";
import { busy, failed } from "../core/message.js";
import { tabs } from "../core/tabs.js";
import { showModels } from "../features/models_tab.js";
import { PipelinesTab } from "../features/pipelines_tab.js";
import { RunsTab } from "../features/runs_tab.js";
import { TrainingTab } from "../features/training_tab.js";

const place = byId("features");

begin();

async function begin() {
  busy(place);
  try {
    const { caller } = await get("/info");
    const isWhole = caller.groups === null; // pipelines and trainings are about the whole store
    const pipelines = isWhole ? (await get("/pipelines")).pipelines : [];
    tabs(place, { label: "Features", tabs: choices(isWhole, pipelines) });
  } catch (error) {
    failed(place, error, begin);
  }
}

function choices(isWhole, pipelines) {
  const lists = [
    tab("runs", "Runs", (panel) => new RunsTab(panel)),
    tab("models", "Models", (panel) => showModels(panel)),
  ];
  if (!isWhole) return lists;
  const pipeline = tab("pipelines", "Pipelines", (panel) => new PipelinesTab(panel, pipelines));
  const training = tab("training", "Training", (panel) => new TrainingTab(panel));
  return pipelines.length > 0 ? [pipeline, ...lists, training] : [...lists, training, pipeline];
}

/** Return a tab whose view is made when it is first chosen, and brought up to date each time after. */
function tab(key, title, make) {
  let view = null;
  return {
    key,
    title,
    show: (panel) => {
      if (view === null) view = make(panel);
      else view.renew?.();
      view.show?.();
    },
    hide: () => view.hide?.(),
  };
}
