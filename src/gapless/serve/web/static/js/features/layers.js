// The places of a graph's nodes: in layers along its edges, with few crossings. Numbers only, no DOM.
//
// An edge over several layers passes through a slot of its own in each of them, so it never runs under a node.

const SWEEPS = 4;

/**
 * Place nodes: ``ids`` in their order, ``edges`` as [from, to]; no cycles. Sizes are those of a node, ``gap`` lies
 * between neighbours and ``stride`` between layers; ``down`` puts layers below each other instead of side by side.
 * Returns {places: Map id -> {x, y}, routes: [[{x, y}, …]], width, height}: routes are in the order of the edges.
 */
export function placed(ids, edges, { width, height, gap, stride, down = false }) {
  const layers = layered(ids, edges);
  const { slots, chains } = withPassages(layers, edges);
  untangle(slots, chains);
  const along = down ? height : width; // the size of a node in the direction of the edges
  const across = down ? width : height;
  const centres = new Map();
  let extent = 0;
  for (const row of slots) extent = Math.max(extent, span(row, across, gap));
  for (const [depth, row] of slots.entries()) {
    let at = (extent - span(row, across, gap)) / 2;
    for (const slot of row) {
      const size = slot.isPassage ? gap : across;
      centres.set(slot, { main: depth * (along + stride), cross: at + size / 2 });
      at += size + gap;
    }
  }
  const point = (main, cross) => (down ? { x: cross, y: main } : { x: main, y: cross });
  const places = new Map();
  for (const row of slots) {
    for (const slot of row.filter(({ isPassage }) => !isPassage)) {
      const { main, cross } = centres.get(slot);
      places.set(slot.id, point(main, cross - across / 2));
    }
  }
  const routes = chains.map((chain) => routeOf(chain, centres, along, point));
  const length = Math.max(0, slots.length * (along + stride) - stride);
  return { places, routes, width: down ? extent : length, height: down ? length : extent };
}

/** Return for each id how many edges lead to it at most: its layer. */
function layered(ids, edges) {
  const depth = new Map(ids.map((id) => [id, 0]));
  for (let round = 0; round < ids.length; round += 1) {
    let isMoved = false;
    for (const [from, to] of edges) {
      if (depth.get(to) > depth.get(from)) continue;
      depth.set(to, depth.get(from) + 1);
      isMoved = true;
    }
    if (!isMoved) break;
  }
  return depth;
}

/** Return the slots of each layer, and of each edge the slots that it goes through, its ends among them. */
function withPassages(depth, edges) {
  const slots = Array.from({ length: 1 + Math.max(-1, ...depth.values()) }, () => []);
  const own = new Map();
  for (const [id, at] of depth) {
    own.set(id, { id, isPassage: false });
    slots[at].push(own.get(id));
  }
  const chains = edges.map(([from, to]) => {
    const chain = [own.get(from)];
    for (let at = depth.get(from) + 1; at < depth.get(to); at += 1) {
      const passage = { id: null, isPassage: true };
      slots[at].push(passage);
      chain.push(passage);
    }
    return [...chain, own.get(to)];
  });
  return { slots, chains };
}

/** Order each layer by where its neighbours stand, forth and back. */
function untangle(slots, chains) {
  const before = new Map();
  const after = new Map();
  for (const chain of chains) {
    for (let at = 1; at < chain.length; at += 1) {
      before.set(chain[at], [...(before.get(chain[at]) ?? []), chain[at - 1]]);
      after.set(chain[at - 1], [...(after.get(chain[at - 1]) ?? []), chain[at]]);
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isForth = sweep % 2 === 0;
    for (const row of isForth ? slots : [...slots].reverse()) sortRow(row, slots, isForth ? before : after);
  }
}

function sortRow(row, slots, neighbours) {
  const position = new Map(slots.flatMap((other) => other.map((slot, at) => [slot, (at + 0.5) / other.length])));
  const wish = new Map(
    row.map((slot) => {
      const near = neighbours.get(slot) ?? [];
      const sum = near.reduce((total, other) => total + position.get(other), 0);
      return [slot, near.length === 0 ? position.get(slot) : sum / near.length];
    }),
  );
  row.sort((one, other) => wish.get(one) - wish.get(other));
}

function span(row, across, gap) {
  const sizes = row.map(({ isPassage }) => (isPassage ? gap : across));
  return sizes.reduce((total, size) => total + size, 0) + gap * Math.max(0, row.length - 1);
}

function routeOf(chain, centres, along, point) {
  const route = [];
  for (const [at, slot] of chain.entries()) {
    const { main, cross } = centres.get(slot);
    if (at > 0) route.push(point(main, cross));
    if (at < chain.length - 1) route.push(point(main + along, cross));
  }
  return route;
}
