// Commands by hand: the device's own commands as a form, and a question that names what will be sent.

import { post, segment } from "../core/api.js";
import { ask } from "../core/dialog.js";
import { el, freshId, replace } from "../core/dom.js";
import { stringify } from "../core/json.js";
import { failed } from "../core/message.js";
import { argumentFields } from "./arguments.js";
import { beyondOf, choicesOf, limitsOf } from "./setpoints.js";

const KEPT = 10;
const LEVELS = { done: "ok", failed: "bad", refused: "warn" };

/** Put the form into a node. Returns {about(description), close()}: the form is made of what the run describes. */
export function orderForm(node, name, by) {
  const answers = el("ol", { class: "order-answers", "aria-label": "Answers of devices" });
  const told = el("div", {});
  const fields = el("div", { class: "order-what" });
  const device = select("Device", () => commandsOf());
  const command = select("Command", () => argumentsOf());
  const form = el(
    "form",
    { class: "stack", onsubmit: give },
    el("div", { class: "order-what" }, device.node, command.node),
    fields,
    told,
    el("div", { class: "toolbar" }, el("button", { class: "button", type: "submit" }, "Give the command …")),
    answers,
  );
  let devices = {};
  let setpoints = {};
  let given = null;

  function about(description) {
    devices = Object.fromEntries(
      Object.entries(description.devices ?? {}).filter(([, facts]) => Object.keys(facts.commands).length > 0),
    );
    setpoints = description.setpoints ?? {};
    if (Object.keys(devices).length === 0) {
      replace(node, el("p", { class: "muted" }, "No device of this run takes commands."));
      return;
    }
    device.fill(Object.keys(devices));
    commandsOf();
    if (form.parentNode !== node) replace(node, form);
  }

  function commandsOf() {
    command.fill(Object.keys(devices[device.value()].commands));
    argumentsOf();
  }

  function argumentsOf() {
    const facts = devices[device.value()].commands[command.value()];
    const what = [setpoints, device.value(), command.value()];
    given = argumentFields(facts.parameters, { hints: limitsOf(...what), choices: choicesOf(...what) });
    replace(fields, facts.description && el("p", { class: "hint order-about" }, facts.description), given.nodes);
  }

  async function give(event) {
    event.preventDefault();
    const order = { device: device.value(), name: command.value() };
    try {
      order.arguments = given.read();
    } catch (problem) {
      failed(told, problem);
      return;
    }
    replace(told);
    const done = await ask({
      title: "Give this command?",
      words: [facts(name, order, by()), beyondOf(setpoints, order).map(warning)],
      confirm: `${order.name} to ${order.device}`,
      danger: true,
      work: () => post(`/live/${segment(name)}/command`, { ...order, confirmed: true, by: by() }),
    });
    if (done !== null) tell(order, done.result);
  }

  function tell(order, { status, value, message }) {
    const words = message || (value === null || value === undefined ? "" : stringify(value));
    answers.prepend(
      el(
        "li",
        { "data-status": status, role: "status" },
        el("span", { class: "badge", "data-level": LEVELS[status] }, status),
        ` ${order.name} to ${order.device}`,
        words && `: ${words}`,
      ),
    );
    while (answers.children.length > KEPT) answers.lastChild.remove();
  }
  return { about, close: () => replace(node) };
}

/** What a command would do, in a list that nobody can misread. */
function facts(name, { device, name: command, arguments: given }, by) {
  const lines = [
    ["run", name],
    ["device", device],
    ["command", command],
    ...Object.entries(given).map(([key, value]) => [key, stringify(value)]),
    ["confirmed by", by],
  ];
  return el("dl", { class: "facts" }, lines.map(([word, fact]) => [el("dt", {}, word), el("dd", { class: "mono" }, fact)]));
}

function warning(words) {
  return el("p", { class: "order-beyond", role: "alert" }, words);
}

function select(label, changed) {
  const id = freshId("order");
  const input = el("select", { id, onchange: changed });
  return {
    node: el("div", { class: "field" }, el("label", { for: id }, label), input),
    value: () => input.value,
    fill(names) {
      const before = input.value;
      replace(input, names.map((name) => el("option", { value: name }, name)));
      if (names.includes(before)) input.value = before;
    },
  };
}
