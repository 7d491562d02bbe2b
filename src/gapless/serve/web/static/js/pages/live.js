// The list of what is being recorded now, kept by the server's stream.

import { events } from "../core/api.js";
import { byId, el, on } from "../core/dom.js";
import { empty } from "../core/message.js";
import { liveTable } from "../live/table.js";

const node = byId("live");
const trouble = byId("trouble");
const table = liveTable();
let close = null;

function look() {
  if (document.hidden) {
    close?.();
    close = null;
  } else if (close === null) {
    close = events("/live/stream", {
      live: ({ live }) => show(live),
      open: () => (trouble.textContent = ""),
      lost: (forGood) => {
        trouble.textContent = "The server does not answer; what is shown may be old.";
        if (forGood) again();
      },
    });
  }
}

function again() {
  close?.();
  close = null;
  setTimeout(look, 2000);
}

function show(live) {
  node.removeAttribute("aria-busy");
  if (live.length === 0) {
    table.show([]);
    empty(node, "Nothing is being recorded now", hint());
    return;
  }
  if (table.node.parentNode !== node) node.replaceChildren(table.node);
  table.show(live);
}

function hint() {
  return el(
    "p",
    {},
    "Whatever records into this store appears here by itself: ",
    el("code", {}, "gapless record RIG.toml"),
    ", ",
    el("code", {}, "gapless observe"),
    ", ",
    el("code", {}, "gapless demo"),
    " or your own program.",
  );
}

on(document, "visibilitychange", look);
look();
