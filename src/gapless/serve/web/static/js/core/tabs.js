// Tabs whose choice is in the address. Arrow keys, Home and End move between them, as ARIA's pattern says.

import { el, freshId } from "./dom.js";
import { toast } from "./message.js";
import { onReturn, read, write } from "./place.js";

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

/**
 * Fill a node with tabs: [{key, title, show(panel), hide()}]. ``show`` is called each time a tab is chosen, with
 * its own panel, which keeps what it holds; ``hide`` when another is. An address that names no tab is said to, and
 * becomes that of the first. Returns {select(key), panel(key)}.
 */
export function tabs(node, { param = "tab", label, tabs: choices }) {
  const views = choices.map((choice) => view(choice));
  const row = el("div", { class: "tabs", role: "tablist", "aria-label": label }, views.map(({ tab }) => tab));
  let shown = null;

  const select = (key, { push = true, focus = false } = {}) => {
    const chosen = views.find((one) => one.key === key) ?? views[0];
    if (focus) chosen.tab.focus();
    if (chosen === shown) return;
    shown?.hide?.();
    for (const one of views) mark(one, one === chosen);
    shown = chosen;
    if (push) write({ [param]: chosen === views[0] ? null : chosen.key }, { push: true });
    chosen.show(chosen.panel);
  };

  for (const one of views) one.tab.addEventListener("click", () => select(one.key));
  row.addEventListener("keydown", (event) => {
    const at = views.findIndex(({ tab }) => tab === document.activeElement);
    const next = target(event.key, at, views.length);
    if (at < 0 || next === null) return;
    event.preventDefault();
    select(views[next].key, { focus: true });
  });
  node.replaceChildren(row, ...views.map(({ panel }) => panel));
  const follow = () => {
    const said = read().get(param) ?? views[0].key;
    if (!views.some(({ key }) => key === said)) {
      toast(`${param}=${said}: there is no such tab here. ${views[0].title} is shown instead.`, "warn");
      write({ [param]: null });
    }
    select(said, { push: false });
  };
  onReturn(follow);
  follow();
  return { select, panel: (key) => views.find((one) => one.key === key)?.panel ?? null };
}

function view(choice) {
  const id = freshId("tab");
  const panelId = `${id}-panel`;
  return {
    ...choice,
    tab: el("button", { type: "button", role: "tab", id, "aria-controls": panelId }, choice.title),
    panel: el("div", { role: "tabpanel", id: panelId, "aria-labelledby": id, tabindex: "0", hidden: true }),
  };
}

function mark({ tab, panel }, isShown) {
  tab.setAttribute("aria-selected", String(isShown));
  tab.tabIndex = isShown ? 0 : -1;
  panel.hidden = !isShown;
}

function target(key, at, length) {
  if (key in STEPS) return (at + STEPS[key] + length) % length;
  if (key === "Home") return 0;
  return key === "End" ? length - 1 : null;
}
