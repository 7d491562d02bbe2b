// What a session asked for, as names and values. The request comes from another program: anything may be in it.

import { el } from "../core/dom.js";
import { stringify } from "../core/json.js";

const KNOWN = [
  ["tasks", "Tasks", (tasks) => listed(tasks)],
  ["total_episodes", "Episodes", (total) => (total === null ? "as many as it takes" : said(total))],
  ["mode", "Mode", said],
  ["data_hz", "Data rate", (rate) => `${said(rate)} Hz`],
  ["video_hz", "Picture rate", (rate) => `${said(rate)} Hz`],
  ["recorders", "Recorders", (names) => (Array.isArray(names) ? names.map(said).join(", ") : said(names))],
];

/** Return what the session is called. */
export function sessionName({ id, request }) {
  return typeof request.session === "string" && request.session !== "" ? request.session : `task ${id}`;
}

/** Return the facts of a request as a list of names and values; ``more`` are [name, value] before them. */
export function requestFacts({ request }, more = []) {
  const known = KNOWN.filter(([key]) => key in request).map(([key, title, render]) => [title, render(request[key])]);
  const others = Object.entries(request)
    .filter(([key]) => key !== "session" && KNOWN.every(([name]) => name !== key))
    .flatMap(([key, value]) => (key === "metadata" && isObject(value) ? Object.entries(value) : [[key, value]]))
    .map(([key, value]) => [key, said(value)]);
  return el(
    "dl",
    { class: "facts wide" },
    [...more, ...known, ...others].map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

/** Return any JSON value as text. */
export function said(value) {
  return typeof value === "string" ? value : stringify(value ?? null);
}

function listed(tasks) {
  if (!Array.isArray(tasks)) return said(tasks);
  return el("ul", { class: "names" }, tasks.map((task) => el("li", {}, said(task))));
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
