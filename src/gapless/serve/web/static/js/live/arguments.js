// The arguments of a command as fields: numbers are numbers, truth values are chosen, anything else is JSON or text.

import { el, freshId } from "../core/dom.js";
import { parse, stringify } from "../core/json.js";

const NUMBERS = new Set(["float", "int"]);
const KINDS = { float: "number", int: "whole number", bool: "true or false", str: "text" };

/**
 * Return {nodes, read()} for parameters; ``read`` throws {message, next} for what the parameter cannot be. ``hints``
 * are words under a parameter, ``choices`` values that it is known to take, both by name.
 */
export function argumentFields(parameters, { hints = {}, choices = {} } = {}) {
  const fields = parameters.map((one) => field(one, hints[one.name] ?? null, choices[one.name] ?? []));
  return {
    nodes: fields.map(({ node }) => node),
    read: () => Object.fromEntries(fields.filter((one) => !one.isLeftOut()).map((one) => [one.name, one.value()])),
  };
}

function field(parameter, hint, choices) {
  const { name, type, required } = parameter;
  const id = freshId("argument");
  const listed = choices.length === 0 ? null : `${id}-choices`;
  const input =
    type === "bool"
      ? el("select", { id }, ["", "true", "false"].map((word) => el("option", { value: word }, word)))
      : el("input", {
          id,
          required,
          autocomplete: "off",
          list: listed,
          inputmode: type === "float" ? "decimal" : null,
          placeholder: shown(parameter),
        });
  const words = [name, KINDS[type], required ? null : "may be left out"].filter(Boolean).join(", ");
  const offered = listed && el("datalist", { id: listed }, choices.map((choice) => el("option", { value: choice })));
  return {
    name,
    node: el(
      "div",
      { class: "field" },
      el("label", { for: id }, words),
      input,
      offered,
      hint && el("p", { class: "hint" }, hint),
    ),
    isLeftOut: () => !required && input.value.trim() === "",
    value: () => valueOf(name, type, input.value.trim()),
  };
}

function valueOf(name, type, text) {
  if (type === "str") return text;
  if (NUMBERS.has(type)) return number(name, type, text);
  if (type === "bool") return choice(name, text);
  try {
    return parse(text);
  } catch (notJson) {
    if (!(notJson instanceof SyntaxError)) throw notJson;
    return text;
  }
}

function number(name, type, text) {
  if (type === "int") return whole(name, text);
  const value = text === "" ? Number.NaN : Number(text.replace(",", "."));
  if (!Number.isFinite(value)) throw problem(name, text, "a number");
  return value;
}

function whole(name, text) {
  if (!/^[+-]?\d+$/.test(text)) throw problem(name, text, "a whole number");
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text.replace("+", ""));
}

function choice(name, text) {
  if (text === "") throw problem(name, "nothing", "true or false");
  return text === "true";
}

function problem(name, found, expected) {
  return Object.assign(new Error(`${name} is not ${expected}`), { found, expected, next: "nothing was sent" });
}

function shown({ default: value }) {
  return value === null || value === undefined ? null : stringify(value);
}
