// A note of the operator: an event of the run, durable when the field empties.

import { post, segment } from "../core/api.js";
import { el, freshId, replace } from "../core/dom.js";
import { failed, toast } from "../core/message.js";

/** Put the form into a node. Returns {close()}. */
export function noteForm(node, name, by) {
  const id = freshId("note");
  const told = el("div", {});
  const text = el("textarea", { id, rows: 2, maxlength: 16_384, required: true, onkeydown: sendKey });
  const act = el("button", { class: "button", type: "submit" }, "Keep the note");
  const form = el(
    "form",
    { class: "stack", onsubmit: keep },
    el("div", { class: "field" }, el("label", { for: id }, "Note"), text),
    told,
    el("div", { class: "toolbar" }, act, el("span", { class: "hint" }, "or Ctrl+Enter")),
  );

  async function keep(event) {
    event.preventDefault();
    act.disabled = true;
    try {
      await post(`/live/${segment(name)}/note`, { text: text.value, by: by() });
      text.value = "";
      replace(told);
      toast("The note is kept");
    } catch (error) {
      failed(told, error);
    } finally {
      act.disabled = false;
    }
  }
  replace(node, form);
  return { close: () => form.remove() };
}

function sendKey(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.form.requestSubmit();
}
