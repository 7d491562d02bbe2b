// Events and gaps as they come, newest first. What interrupts a person is only what is wrong.

import { el, replace } from "../core/dom.js";
import { time, utc } from "../core/format.js";
import { stringify } from "../core/json.js";
import { announce } from "../core/message.js";

const KEPT = 200;
const REMEMBERED = 1000;
const LEVELS = { error: "bad", warning: "warn", info: "", debug: "" };

/** Fill a list. Returns {event(words, id), gap(words, id), missed(count)}; one that is known is passed over. */
export function toldList(node) {
  const list = el("ol", { class: "told", tabindex: "0", "aria-label": "Events and gaps, newest first" });
  const lost = el("p", { class: "hint" });
  const none = el("p", { class: "muted" }, "No events yet");
  replace(node, none, lost);

  const known = new Set(); // who comes back after a break is told some of them again

  function isNew(id) {
    if (known.has(id)) return false;
    known.add(id);
    if (known.size > REMEMBERED) known.delete(known.values().next().value);
    return true;
  }

  function put(line) {
    if (none.isConnected) none.replaceWith(list);
    list.prepend(line);
    while (list.children.length > KEPT) list.lastChild.remove();
  }

  return {
    event({ timestamp_ns: stamp, severity, kind, source, message, data }, id) {
      if (!isNew(id)) return;
      const level = LEVELS[severity] ?? "";
      if (level !== "") announce(`${severity}: ${message}`);
      put(
        el(
          "li",
          { "data-kind": kind, "data-level": level || null },
          moment(stamp),
          el("span", { class: "badge", "data-level": level || null }, severity),
          el("span", { class: "told-kind mono" }, kind),
          el("span", { class: "told-words" }, message),
          source && el("span", { class: "muted" }, source),
          data && details(data),
        ),
      );
    },
    gap({ start_ns: stamp, device, topic, cause, records, count }, id) {
      if (!isNew(id)) return;
      const size = records ?? count;
      const words = `${size === null || size === undefined ? "an unknown number" : size} missing of ${device ?? topic}`;
      put(
        el(
          "li",
          { "data-kind": "gap", "data-level": "warn" },
          moment(stamp),
          el("span", { class: "badge", "data-level": "warn" }, "gap"),
          el("span", { class: "told-kind mono" }, cause),
          el("span", { class: "told-words" }, words),
        ),
      );
    },
    missed(count) {
      lost.textContent = count > 0 ? `${count} came too fast for this page; the recording has them all.` : "";
    },
  };
}

function moment(stamp) {
  return el("time", { class: "told-time mono", title: utc(stamp) }, time(stamp).slice(11));
}

function details(data) {
  return el("details", {}, el("summary", {}, "details"), el("pre", { class: "mono" }, stringify(data, null, 1)));
}
