// The HTTP API, as every page asks it: JSON in and out, refusals as ApiError, nothing swallowed. Whole numbers beyond
// 2^53 come and go as BigInt.
//
// Paths are relative to /api/v1 and already encoded: `/sequences/${segment(name)}`. Parameters are an object;
// a list stands for several of one name, null and "" for none. A {signal} aborts: the promise then rejects
// with the signal's reason, as fetch does.

import { decode } from "./frame.js";
import { parse, stringify } from "./json.js";
import { renewToken, token } from "./token.js";

const ROOT = "/api/v1";

/** What the server refused, in its words; status 0 when there was no answer at all. */
export class ApiError extends Error {
  constructor(status, told) {
    super(told.message ?? `the server answered with status ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = told.code ?? null;
    this.error = told.error ?? null;
    this.found = told.found ?? null;
    this.expected = told.expected ?? null;
    this.next = told.next ?? null;
    this.sequence = told.sequence ?? null;
    this.topic = told.topic ?? null;
    this.field = told.field ?? null;
  }
}

/** Return a name as one segment of a path, its slashes encoded. */
export function segment(name) {
  return encodeURIComponent(name);
}

/** Return the address of a path of the API, for links and media. */
export function address(path, params = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") asked.append(name, String(one));
    }
  }
  const text = asked.toString();
  return `${ROOT}${path}${text === "" ? "" : `?${text}`}`;
}

/** Read JSON. */
export async function get(path, params = {}, { signal } = {}) {
  return told(await answered(address(path, params), { signal }));
}

/** Send JSON and read the JSON that comes back, null where the answer has no body. */
export async function post(path, body = {}, { signal } = {}) {
  return told(await changed(address(path), "POST", body, signal));
}

/** Delete, and read what the answer says, null where it has no body. */
export async function del(path, { signal } = {}) {
  return told(await changed(address(path), "DELETE", null, signal));
}

/** Read one binary frame: {header, columns, baseNs}. */
export async function frame(path, params = {}, { signal } = {}) {
  const answer = await answered(address(path, params), { signal });
  return decode(await answer.arrayBuffer());
}

/** Read what is shown as it came, such as a picture: {blob, headers}. */
export async function file(path, params = {}, { signal } = {}) {
  const answer = await answered(address(path, params), { signal });
  return { blob: await answer.blob(), headers: answer.headers };
}

/**
 * Follow a stream of server-sent events and return the function that ends it. A listener gets the event's data,
 * parsed, and its id. "open" is told of each (re)connection; "lost" of each break, with true when it is for good.
 */
export function events(path, listeners, { params = {} } = {}) {
  const source = new EventSource(address(path, params));
  for (const [name, listener] of Object.entries(listeners)) {
    if (name === "open" || name === "lost") continue;
    source.addEventListener(name, (event) => listener(parse(event.data), event.lastEventId));
  }
  source.addEventListener("open", () => listeners.open?.());
  source.addEventListener("error", (event) => {
    if (event instanceof MessageEvent) return; // an event of that name, which has its own listener
    listeners.lost?.(source.readyState === EventSource.CLOSED);
  });
  return () => source.close();
}

/**
 * Open a WebSocket; ``onmessage`` gets parsed JSON or an ArrayBuffer. Returns {send(value), close()};
 * ``onclose`` is told the code and the reason when it ends, also when it could not be opened.
 */
export function socket(path, params, onmessage, { onopen, onclose } = {}) {
  const place = new URL(address(path, params), location.href);
  place.protocol = place.protocol === "https:" ? "wss:" : "ws:";
  const line = new WebSocket(place);
  line.binaryType = "arraybuffer";
  line.addEventListener("message", ({ data }) => onmessage(typeof data === "string" ? parse(data) : data));
  line.addEventListener("open", () => onopen?.());
  line.addEventListener("close", ({ code, reason }) => onclose?.(code, reason));
  return { send: (value) => line.send(stringify(value)), close: () => line.close(1000) };
}

/** True for what an aborted request rejects with, which is nobody's fault. */
export function isAborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

// A refused token changed nothing at the server: with a new one the same is asked once more.
async function changed(url, method, body, signal) {
  try {
    return await answered(url, changing(method, body, signal));
  } catch (error) {
    if (error.error !== "CsrfRefused" || !(await renewToken())) throw error;
  }
  return answered(url, changing(method, body, signal));
}

function changing(method, body, signal) {
  const headers = { "X-CSRF-Token": token() };
  if (body !== null) headers["Content-Type"] = "application/json";
  return { method, headers, body: body === null ? undefined : stringify(body), signal };
}

async function answered(url, options) {
  const answer = await fetch(url, options).catch((fault) => {
    if (!(fault instanceof TypeError)) throw fault; // aborted
    throw new ApiError(0, {
      message: "the server does not answer",
      next: "see whether `gapless serve` still runs and this computer reaches it, then try again",
    });
  });
  if (!answer.ok) throw new ApiError(answer.status, await refusal(answer));
  return answer;
}

async function refusal(answer) {
  const isJson = (answer.headers.get("Content-Type") ?? "").startsWith("application/json");
  return isJson ? parse(await answer.text()) : { message: `${answer.status} ${answer.statusText}`.trim() };
}

async function told(answer) {
  return answer.status === 204 ? null : parse(await answer.text());
}
