// The ordinary end of a run: asked once, with a reason, and the run is sealed as aborted.

import { post, segment } from "../core/api.js";
import { ask } from "../core/dialog.js";
import { el, replace } from "../core/dom.js";
import { toast } from "../core/message.js";

/** Put the stop button into a node. Returns {close()}. */
export function stopButton(node, name, by) {
  const button = el("button", { type: "button", class: "button danger", onclick: () => stop(name, by) }, "Stop the run …");
  replace(node, button);
  return { close: () => button.remove() };
}

async function stop(name, by) {
  const done = await ask({
    title: `Stop ${name}?`,
    words: "Every device goes into its safe state, what was recorded is sealed, and the run ends as aborted.",
    confirm: "Stop the run",
    danger: true,
    fields: [{ name: "reason", label: "Reason (kept with the recording)" }],
    work: ({ reason }) => {
      const words = reason.trim();
      return post(`/live/${segment(name)}/stop`, words === "" ? { by: by() } : { by: by(), reason: words });
    },
  });
  if (done !== null) toast(`${name} is stopping`);
}
