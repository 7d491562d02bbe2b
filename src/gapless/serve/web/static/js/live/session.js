// After an episode comes the next: a link to it as soon as the session records again.

import { ApiError, get, segment } from "../core/api.js";
import { el } from "../core/dom.js";

const LOOK_MS = 2000;
const LOOKS = 60;

/** What is recorded now; nothing while the server does not answer. */
async function recorded() {
  try {
    return (await get("/live")).live;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [];
  }
}

/** Look for the next recording of a group for two minutes, and add a link to it to a node. */
export async function nextOfSession(node, name, group) {
  for (let look = 0; look < LOOKS && group !== null; look += 1) {
    const next = (await recorded()).find((one) => one.group === group && one.name !== name);
    if (next !== undefined) {
      node.append(el("p", {}, el("a", { class: "button", href: `/live/${segment(next.name)}` }, `Watch ${next.name}`)));
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
