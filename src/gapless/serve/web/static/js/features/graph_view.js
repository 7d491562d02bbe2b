// A graph on the page: nodes are elements that the caller makes, edges are lines behind them.
//
// The nodes stand in the document in the order in which they are given, so Tab goes through them in that order.

import { el, replace, svg } from "../core/dom.js";
import { placed } from "./layers.js";

const NODE = { width: 196, height: 74, gap: 18, stride: 48 };
const LEAST_WIDTH = 132; // of a node, where there is little room
const NARROW_PX = 640;

/** Shows one graph at a time in a node, and lays it out again when the node's width changes. */
export class GraphView {
  constructor(node, label) {
    this._frame = el("div", { class: "graph", role: "group", tabindex: "0", "aria-label": label });
    this._graph = { nodes: [], edges: [] };
    this._isDown = null;
    node.append(this._frame);
    new ResizeObserver(() => this._fit()).observe(this._frame);
  }

  /** Show ``nodes`` [{id, node}] and ``edges`` [[from id, to id]]. */
  show(nodes, edges) {
    this._graph = { nodes, edges };
    this._isDown = null;
    this._fit();
  }

  /** Return the size of nodes: narrower than usual where layers that lie side by side would not fit. */
  _sizeOf(ids, edges, isDown) {
    const style = getComputedStyle(this._frame);
    const room = this._frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const { width } = placed(ids, edges, { ...NODE, down: isDown });
    if (!isDown || width <= room) return NODE;
    return { ...NODE, width: Math.max(LEAST_WIDTH, Math.floor((NODE.width * room) / width) - 2) };
  }

  _fit() {
    const isDown = this._frame.clientWidth < NARROW_PX;
    if (isDown === this._isDown) return;
    this._isDown = isDown;
    const { nodes, edges } = this._graph;
    const ids = nodes.map(({ id }) => id);
    const size = this._sizeOf(ids, edges, isDown);
    const { places, routes, width, height } = placed(ids, edges, { ...size, down: isDown });
    for (const { id, node } of nodes) {
      const { x, y } = places.get(id);
      node.classList.add("graph-node");
      Object.assign(node.style, {
        left: `${x}px`,
        top: `${y}px`,
        width: `${size.width}px`,
        height: `${size.height}px`,
      });
    }
    const lines = svg(
      "svg",
      { class: "graph-edges", width, height, "aria-hidden": "true" },
      routes.map((route) => svg("path", { d: curve(route, isDown) })),
    );
    const canvas = el("div", { class: "graph-canvas" }, lines, nodes.map(({ node }) => node));
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const focused = nodes.find(({ node }) => node === document.activeElement)?.node;
    replace(this._frame, canvas);
    focused?.focus({ preventScroll: true });
  }
}

/** Return the path of an edge: straight along a layer, bent between two of them. */
function curve(route, isDown) {
  const [start, ...rest] = route;
  let text = `M ${start.x} ${start.y}`;
  let from = start;
  for (const to of rest) {
    const half = isDown ? (from.y + to.y) / 2 : (from.x + to.x) / 2;
    text += isDown
      ? ` C ${from.x} ${half} ${to.x} ${half} ${to.x} ${to.y}`
      : ` C ${half} ${from.y} ${half} ${to.y} ${to.x} ${to.y}`;
    from = to;
  }
  return text;
}
