// Nodes made by hand. Text is always text: nothing here or in any page parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. Attributes are written as in HTML ("aria-label", "data-level"); a function under "onclick"
 * and the like becomes a listener, true an empty attribute, false, null and undefined none at all.
 * Children are nodes, texts, numbers or lists of them; null and false are left out.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an SVG element, as el() makes an HTML one. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Put these children in the place of all that a node holds, and return the node. */
export function replace(node, ...children) {
  node.replaceChildren(...flat(children));
  return node;
}

/** Listen, and return the function that stops listening. */
export function on(target, type, listener, options) {
  target.addEventListener(type, listener, options);
  return () => target.removeEventListener(type, listener, options);
}

/** Return the element of an id; a template without it is a fault of the page. */
export function byId(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no element #${id}`);
  return node;
}

let ids = 0;

/** Return an id that no other element of the page has. */
export function freshId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
