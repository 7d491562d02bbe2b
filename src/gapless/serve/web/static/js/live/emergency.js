// The emergency stop: held for one second, never in the way of anything, never behind anything.
//
// It is not disabled while the run lives, not even while an answer is awaited: held again, it asks again. While a
// dialog is open, which makes the rest of the page unreachable, it moves into that dialog. An answer that does not
// come because server or network fail is asked for again each second until there is one.

import { post, segment } from "../core/api.js";
import { el, on, replace, svg } from "../core/dom.js";
import { announce, failure } from "../core/message.js";

export const HOLD_MS = 1000;
const AGAIN_MS = 1000;
const COUNT_MS = 100;
const RADIUS = 10;
const KEYS = new Set([" ", "Enter"]);

/**
 * Put the button into a node and its results into another. ``by`` returns the operator's name.
 * Returns {close()}, for when the run is over.
 */
export function emergencyStop(node, told, name, by) {
  const button = heldButton("EMERGENCY STOP", () => send());
  let asked = 0;
  let over = false;

  const tell = (...nodes) => {
    replace(told, ...nodes);
    told.scrollIntoView({ block: "nearest" });
  };

  async function send() {
    asked += 1;
    const mine = asked;
    announce("Emergency stop sent");
    for (let tries = 1; !over && mine === asked; tries += 1) {
      tell(waiting(name, tries));
      try {
        tell(report(await post(`/live/${segment(name)}/emergency-stop`, { by: by() })));
        return;
      } catch (error) {
        if (mine !== asked) return;
        if (over || (error.status !== 0 && error.status < 500)) {
          tell(failure(error), byHand(name));
          return;
        }
        tell(failure(error), byHand(name), el("p", { role: "status" }, `Trying again (${tries}) …`));
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
    if (over && mine === asked) tell(el("p", { role: "status" }, "The run has ended meanwhile."));
  }

  const home = el("div", { class: "estop-home" }, button.node);
  const unfollow = followDialogs(button.node, home);
  replace(node, home);
  return {
    close() {
      over = true;
      if (button.node.contains(document.activeElement)) told.focus(); // what became of it stands there
      unfollow();
      button.close();
      home.remove();
      button.node.remove();
    },
  };
}

/** A button that acts when it was held for a second, by pointer, Space or Enter; letting go cancels. */
function heldButton(words, act) {
  const ring = svg("circle", { class: "estop-ring", cx: 12, cy: 12, r: RADIUS, pathLength: 100 });
  const rim = svg("circle", { class: "estop-rim", cx: 12, cy: 12, r: RADIUS });
  const hint = el("span", { class: "estop-hint" }, "hold for 1 s");
  const node = el(
    "button",
    { type: "button", class: "estop", "aria-label": `${words}: hold for one second` },
    svg("svg", { class: "estop-dial", viewBox: "0 0 24 24", "aria-hidden": "true" }, rim, ring),
    el("span", { class: "estop-words" }, words),
    hint,
  );
  let timer = null;
  let counting = null;

  const begin = () => {
    if (timer !== null) return;
    node.classList.add("holding");
    let left_ms = HOLD_MS;
    const count = () => {
      hint.textContent = `keep holding ${(left_ms / 1000).toFixed(1)} s`;
      left_ms -= COUNT_MS;
    };
    count();
    counting = setInterval(count, COUNT_MS); // the ring does not turn for who asked for less motion
    timer = setTimeout(() => {
      cancel();
      act();
    }, HOLD_MS);
  };
  const cancel = () => {
    if (timer === null) return;
    clearTimeout(timer);
    clearInterval(counting);
    timer = null;
    node.classList.remove("holding");
    hint.textContent = "hold for 1 s";
  };
  const heard = [
    on(node, "pointerdown", (event) => event.button === 0 && begin()),
    ...["pointerup", "pointercancel", "pointerleave", "blur"].map((type) => on(node, type, cancel)),
    on(node, "contextmenu", (event) => event.preventDefault()), // a long touch is no menu here
    on(node, "keydown", (event) => {
      if (!KEYS.has(event.key)) return;
      event.preventDefault();
      if (!event.repeat) begin();
    }),
    on(node, "keyup", (event) => KEYS.has(event.key) && (event.preventDefault(), cancel())),
    on(document, "visibilitychange", cancel),
  ];
  return {
    node,
    close() {
      cancel();
      for (const unhear of heard) unhear();
    },
  };
}

/** Keep a node reachable: in the topmost open dialog (each is a child of the body while it is open), else at home. */
function followDialogs(node, home) {
  const place = () => {
    const open = [...document.querySelectorAll("dialog[open]")].at(-1) ?? home;
    if (node.parentNode !== open && home.isConnected) open.append(node);
  };
  const watcher = new MutationObserver(place);
  watcher.observe(document.body, { childList: true });
  return () => watcher.disconnect();
}

function waiting(name, tries) {
  const words = `Emergency stop of ${name} sent; waiting for the devices …`;
  return el("p", { class: "busy", role: "alert" }, tries === 1 ? words : `${words} (try ${tries})`);
}

function byHand(name) {
  return el(
    "p",
    { class: "estop-by-hand" },
    "Do not wait for this page: at the machine, run ",
    el("code", {}, `gapless run emergency-stop ${quoted(name)} --store STORE`),
    " (STORE: the folder that it is recorded into) or use the hardware's own switch.",
  );
}

/** A name as a shell reads it: one word, whatever it holds. */
function quoted(name) {
  return /^[\w./@-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
}

function report(answer) {
  const level = levelOf(answer);
  return el(
    "div",
    { class: level === "ok" ? "estop-report" : "error", role: "alert", "data-level": level },
    el("p", { class: "error-title" }, headOf(answer, level)),
    el("ul", { class: "estop-outcomes" }, [...answer.outcomes].sort(worstFirst).map(outcome)),
    answer.unnoted && el("p", {}, answer.unnoted),
  );
}

function levelOf({ unsafe, outcomes }) {
  if (unsafe.length > 0) return "bad";
  return outcomes.some(({ status }) => status === "safe") ? "ok" : "warn";
}

function headOf({ unsafe }, level) {
  if (level === "bad") return `NOT SAFE: ${unsafe.join(", ")}. Go there now.`;
  return level === "ok"
    ? "Every device with a safe state is in it."
    : "No device of this rig has a safe state: the run ends, and nothing was made safe. Look at the devices.";
}

const WORDS = { safe: "safe", unsafe: "NOT SAFE", not_declared: "has no safe state" };
const LEVELS = { safe: "ok", unsafe: "bad", not_declared: "warn" };

function worstFirst(one, other) {
  return Number(other.status === "unsafe") - Number(one.status === "unsafe");
}

function outcome({ device, status, took_s, message }) {
  return el(
    "li",
    { "data-status": status },
    el("span", { class: "badge", "data-level": LEVELS[status] }, WORDS[status]),
    ` ${device}`,
    status === "safe" && ` in ${took_s.toFixed(2)} s`,
    message && `: ${message}`,
  );
}
