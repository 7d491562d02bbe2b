// Who acts: the name that a person typed and this browser keeps, else what the server calls them.

import { el, freshId, replace } from "../core/dom.js";
import { author, chooseAuthor } from "../core/settings.js";

const LONGEST = 180; // characters of a name; what the browser keeps from elsewhere may be longer

/** Put the field for the name into a node. Returns {by(), known(words)}: the name, and the server's own for none. */
export function operator(node) {
  const id = freshId("operator");
  let fallback = "page";
  const input = el("input", {
    id,
    maxlength: LONGEST,
    autocomplete: "name",
    value: author(),
    placeholder: fallback,
    title: "kept with what you do",
    onchange: () => chooseAuthor(input.value.trim()),
  });
  replace(node, el("div", { class: "field" }, el("label", { for: id }, "Your name"), input));
  return {
    by: () => (input.value.trim() || fallback).slice(0, LONGEST),
    known(words) {
      fallback = words;
      input.placeholder = words;
    },
  };
}
