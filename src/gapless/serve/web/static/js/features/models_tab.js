// All models of the store, the newest first.

import { get } from "../core/api.js";
import { el } from "../core/dom.js";
import { count, time } from "../core/format.js";
import { pagedTable } from "./paged_table.js";
import { nsOf, runPlace, stateBadge } from "./words.js";

/** Fill a panel with the models; returns {renew()}. */
export function showModels(panel) {
  const table = pagedTable(panel, {
    label: "Models",
    columns: COLUMNS,
    rowName: ({ name, run_id: runId }) => `${name}@${runId}`,
    fetchPage: async () => ({ rows: (await get("/features/models")).models, next: null }),
    whenEmpty: [
      "No model was trained yet.",
      el("p", {}, el("code", {}, "gapless train PIPELINE"), " trains those of a pipeline."),
    ],
  });
  return { renew: () => table.reload() };
}

const COLUMNS = [
  { title: "Model", render: ({ name, run_id: runId }) => el("a", { href: runPlace(name, runId, true) }, name) },
  { title: "Run", render: ({ run_id: runId }) => el("span", { class: "mono" }, runId) },
  { title: "State", render: ({ status }) => stateBadge(status) },
  { title: "Sequences", align: "end", render: ({ sequences }) => count(sequences) },
  { title: "Labels", render: ({ labels }) => labels.join(", ") || "–" },
  { title: "Finished", align: "when", render: ({ finished_at: finishedAt }) => time(nsOf(finishedAt)) },
];
