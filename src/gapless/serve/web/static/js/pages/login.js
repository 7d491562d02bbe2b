// Changes a key for a session, then goes on to the page that asked for it. The key is kept nowhere.

import { post } from "../core/api.js";
import { byId, replace } from "../core/dom.js";
import { failed } from "../core/message.js";
import { read } from "../core/place.js";

const form = byId("login");
const key = byId("key");
const told = byId("told");
const button = form.querySelector("button");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  replace(told);
  try {
    await post("/session", { key: key.value.trim() });
    location.assign(goal());
  } catch (error) {
    failed(told, error.status === 401 ? wrong(error) : error);
    key.select();
    button.disabled = false;
  }
});
key.focus();
goOnIfKnown();

/**
 * A link on another site opens our pages without the session's cookie; a question from this page has it, and the answer
 * to who has a session leads on.
 */
async function goOnIfKnown() {
  try {
    const seen = await fetch(location.href, { redirect: "manual" });
    if (seen.type === "opaqueredirect") location.replace(goal());
    else await seen.text(); // the form, which is here already
  } catch (fault) {
    failed(told, fault);
  }
}

/** A key that does not count, in words for who typed it; the server's own are for programs. */
function wrong({ code }) {
  return {
    message: "this key does not count",
    code,
    next: "look whether all of it is there; it may also be over or revoked. `gapless keys make` on the server makes another",
  };
}

/** The page of this server that the address names, else the first one: a link from outside leads nowhere else. */
function goal() {
  const asked = new URL(read().get("next") ?? "/", location.origin);
  return asked.origin === location.origin ? asked.href : "/"; // whole: a path such as //elsewhere would lead away
}
