// What the method asks: each question with a button for each answer, until it is answered.

import { post, segment } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { announce, failed } from "../core/message.js";

/** Show questions in a node. Returns {show(prompts), close()}; a question that stays is not drawn anew. */
export function promptList(node, name, by) {
  const shown = new Map();

  function question({ prompt_id: id, text, choices }) {
    const told = el("div", {});
    const buttons = choices.map((choice) =>
      el("button", { type: "button", class: "button primary", onclick: () => answer(choice) }, choice),
    );
    const answer = async (choice) => {
      for (const button of buttons) button.disabled = true;
      try {
        await post(`/live/${segment(name)}/confirm`, { prompt_id: id, answer: choice, by: by() });
        replace(told, el("p", { class: "muted" }, `answered: ${choice}`));
      } catch (error) {
        failed(told, error);
        for (const button of buttons) button.disabled = false;
      }
    };
    announce(`The method asks: ${text}`);
    return el(
      "section",
      { class: "card prompt", "data-prompt": id },
      el("h2", {}, "The method asks"),
      el("p", { class: "prompt-text" }, text),
      el("div", { class: "toolbar" }, buttons),
      told,
    );
  }

  function show(prompts) {
    const asked = new Set(prompts.map(({ prompt_id: id }) => id));
    for (const [id, card] of shown) {
      if (asked.has(id)) continue;
      card.remove();
      shown.delete(id);
    }
    for (const prompt of prompts) {
      if (shown.has(prompt.prompt_id)) continue;
      const card = question(prompt);
      shown.set(prompt.prompt_id, card);
      node.append(card);
    }
  }
  return { show, close: () => show([]) };
}
