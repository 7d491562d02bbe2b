// Questions to the person, in the browser's own <dialog>: it traps the focus, Escape cancels, focus goes back.

import { el, freshId, replace } from "./dom.js";
import { failed } from "./message.js";

/**
 * Ask, and resolve to the values of the fields ({} without fields) or to null when it was cancelled.
 *
 * ``fields`` are {name, label, type, value, required, options, hint, rows}: type is that of an <input>, "select"
 * (options are texts or {value, title}) or "textarea". With ``work`` the dialog stays open while work(values)
 * runs, shows what it rejects with, and resolves to {values, result} once it is done.
 */
export function ask({ title, words = "", confirm = "OK", danger = false, fields = [], work = null }) {
  const titled = freshId("dialog");
  const told = el("div", { class: "dialog-told" });
  const act = el("button", { class: `button ${danger ? "danger" : "primary"}`, type: "submit" }, confirm);
  const cancel = el("button", { class: "button", type: "button" }, "Cancel");
  const inputs = fields.map(field);
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: titled }, title),
    words && el("div", { class: "dialog-words" }, words),
    inputs.map(({ node }) => node),
    told,
    el("div", { class: "dialog-actions" }, cancel, act),
  );
  const box = el("dialog", { class: "dialog", "aria-labelledby": titled }, form);
  return new Promise((resolve) => {
    let answer = null;
    cancel.addEventListener("click", () => box.close());
    box.addEventListener("close", () => {
      box.remove();
      resolve(answer);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const values = Object.fromEntries(inputs.map(({ name, read }) => [name, read()]));
      const done = work === null ? values : await attempt(work, values, act, told);
      if (done === null) return;
      answer = done;
      box.close();
    });
    document.body.append(box);
    box.showModal();
    (danger ? cancel : (inputs[0]?.input ?? act)).focus(); // a dangerous act is never one Enter away
  });
}

async function attempt(work, values, act, told) {
  act.disabled = true;
  replace(told);
  try {
    return { values, result: await work(values) };
  } catch (error) {
    failed(told, error);
    return null;
  } finally {
    act.disabled = false;
  }
}

function field({ name, label, type = "text", value = "", required = false, options = [], hint = null, rows = 3 }) {
  const id = freshId("field");
  const told = hint === null ? null : freshId("hint");
  const shared = { id, name, required, "aria-describedby": told };
  const input = control(type, shared, value, options, rows);
  const node = el(
    "div",
    { class: "field" },
    el("label", { for: id }, label),
    input,
    hint !== null && el("p", { class: "hint", id: told }, hint),
  );
  return { name, node, input, read: () => (type === "checkbox" ? input.checked : input.value) };
}

function control(type, shared, value, options, rows) {
  if (type === "textarea") return el("textarea", { ...shared, rows }, value);
  if (type === "checkbox") return el("input", { ...shared, type, checked: value === true });
  if (type !== "select") return el("input", { ...shared, type, value, autocomplete: "off" });
  return el(
    "select",
    shared,
    options.map((option) => {
      const { value: own, title } = typeof option === "string" ? { value: option, title: option } : option;
      return el("option", { value: own, selected: own === value }, title);
    }),
  );
}
