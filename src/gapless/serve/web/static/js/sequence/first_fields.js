// What is plotted when nobody chose: fields that have something to show.

import { ApiError, frame } from "../core/api.js";
import { curvesOf, hasValue } from "./curve.js";
import { nameOf } from "./view.js";

const SHOWN = 3;
const LOOKED_AT = 24;
const POINTS = 2; // two points of a curve tell whether there is a number at all

/**
 * Resolve to up to three fields `[{topic, field}]` of one topic: of the named one, else of the one with most rows.
 * Quantities come before bare numbers, and fields without a single value are passed over while others have some.
 */
export async function firstFields(description, name) {
  const candidates = candidatesOf(description, name).slice(0, LOOKED_AT);
  if (candidates.length === 0) return [];
  const known = await withValues(description, candidates);
  const kept = known.length > 0 ? known : candidates;
  return kept.filter(({ topic }) => topic === kept[0].topic).slice(0, SHOWN);
}

function candidatesOf({ ownTopics }, name) {
  const some = ownTopics.filter((topic) => topic.numbers.length > 0 && !topic.isMedia);
  const ranked = some.toSorted((one, other) => rank(other, name) - rank(one, name) || rowsOf(other) - rowsOf(one));
  return ranked.flatMap(({ name: topic, quantities, numbers }) =>
    (quantities.length > 0 ? quantities : numbers).map(({ name: field }) => ({ topic, field })),
  );
}

function rank(topic, name) {
  if (topic.name === name) return 3;
  if (rowsOf(topic) === 0) return 0;
  return topic.quantities.length > 0 ? 2 : 1;
}

function rowsOf({ rows }) {
  return rows ?? 1; // how many are in what is recorded now may be unknown: there may be some
}

// A server that cannot tell leaves it open; what is wrong is said where the curves are drawn.
async function withValues({ path, extent }, candidates) {
  if (extent === null) return [];
  try {
    const asked = { fields: candidates.map(nameOf), points: POINTS };
    const found = curvesOf(await frame(`${path}/curves`, asked), extent.startNs);
    return candidates.filter((_, n) => hasValue(found[n]));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return candidates;
  }
}
