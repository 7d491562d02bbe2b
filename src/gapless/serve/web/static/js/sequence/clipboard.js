// Text to the clipboard, also where the browser keeps its clipboard to pages with TLS.

import { el } from "../core/dom.js";
import { toast } from "../core/message.js";

/** Copy text; true when the browser says that it did. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => copyMarked(text));
  return copyMarked(text);
}

function copyMarked(text) {
  const area = el("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const isDone = document.execCommand("copy");
  area.remove();
  return isDone;
}

/** Return a button that copies what `text()` gives. */
export function copyButton(words, text) {
  const copy = async () => {
    if (await copyText(text())) toast("Copied");
    else toast("The browser refused; mark the text and copy it", "warn");
  };
  return el("button", { type: "button", class: "button", onclick: copy }, words);
}
