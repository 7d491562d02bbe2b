// Where a run or a model comes from and what was made from it: a graph of links, and the sequences at its beginning.

import { get, segment } from "../core/api.js";
import { el, replace } from "../core/dom.js";
import { count } from "../core/format.js";
import { busy, failed } from "../core/message.js";
import { GraphView } from "./graph_view.js";
import { runPlace, sequenceLink, stateBadge } from "./words.js";

const SHOWN_SEQUENCES = 60;

/** Fill a node with the lineage of a feature run, or with ``kind`` "model" of a model. */
export async function showLineage(node, name, runId, kind) {
  busy(node);
  const path = `/features/lineage/${segment(name)}/${segment(runId)}`;
  try {
    draw(node, await get(path, { kind, sequences: SHOWN_SEQUENCES }));
  } catch (error) {
    failed(node, error, () => showLineage(node, name, runId, kind));
  }
}

function draw(node, lineage) {
  const place = el("div");
  replace(
    node,
    place,
    lineage.is_cut && el("p", { class: "hint" }, "There are more runs than are shown here."),
    sources(lineage),
  );
  const source = lineage.sequences_total > 0 ? [sourceNode(lineage.sequences_total)] : [];
  const first = source.length === 0 ? [] : beginnings(lineage).map((id) => ["sequences", id]);
  new GraphView(place, "Lineage").show(
    [...source, ...inOrder(lineage).map((one) => ({ id: one.id, node: nodeOf(one) }))],
    [...first, ...lineage.edges],
  );
}

/** Return the nodes so that what was read comes before who read it. */
function inOrder({ nodes, edges }) {
  const left = new Map(nodes.map((node) => [node.id, node]));
  const ordered = [];
  while (left.size > 0) {
    const free = [...left.values()].filter(({ id }) => edges.every(([from, to]) => to !== id || !left.has(from)));
    for (const node of free.length > 0 ? free : left.values()) {
      ordered.push(node);
      left.delete(node.id);
    }
  }
  return ordered;
}

/** Return the ids at which nothing leads: those are read from the recordings, if the focus depends on them. */
function beginnings({ nodes, edges }) {
  const above = new Set(nodes.filter((node) => node.is_focus).map(({ id }) => id));
  for (const id of above) {
    for (const [from, to] of edges) if (to === id) above.add(from);
  }
  return [...above].filter((id) => edges.every(([, to]) => to !== id));
}

function nodeOf(node) {
  const what = node.kind === "model" ? "model" : "feature run";
  const content = [
    el("span", { class: "step-name", title: node.name }, node.name),
    el("span", { class: "step-line mono muted" }, node.run_id),
    el("span", { class: "step-line muted" }, node.status === null ? what : [`${what} `, stateBadge(node.status)]),
  ];
  if (node.is_focus) return el("div", { class: "step", "aria-current": "true" }, content);
  return el("a", { class: "step", href: runPlace(node.name, node.run_id, node.kind === "model") }, content);
}

function sourceNode(total) {
  const words = total === 1 ? "1 sequence" : `${count(total)} sequences`;
  const node = el(
    "div",
    { class: "topic" },
    el("span", { class: "step-name" }, words),
    el("span", { class: "step-line muted" }, "recorded"),
  );
  return { id: "sequences", node };
}

function sources({ sequences, sequences_total: total }) {
  if (total === 0) return null;
  const more = total - sequences.length;
  return el(
    "details",
    { open: total <= 12 },
    el("summary", {}, total === 1 ? "1 sequence" : `${count(total)} sequences`),
    el(
      "ul",
      { class: "names" },
      sequences.map(({ sequence, content_digest: digest }) =>
        el("li", {}, digest === null ? `${sequence} (gone, or not sealed)` : sequenceLink(sequence)),
      ),
      more > 0 && el("li", { class: "muted" }, `and ${count(more)} more`),
    ),
  );
}
