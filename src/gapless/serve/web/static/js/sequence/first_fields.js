// What is plotted when nobody chose: fields that have something to show.

import { ApiError, frame } from "../core/api.js";
import { curvesOf, hasValue } from "./curve.js";
import { linkOf } from "./view.js";

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
  const shown = kept.filter(({ topic }) => topic === kept[0].topic).slice(0, SHOWN);
  return shown.map(({ topic, field }) => ({ topic, field }));
}

function candidatesOf({ ownTopics }, name) {
  const some = ownTopics.filter((topic) => topic.numbers.length > 0 && !topic.isMedia);
  const ranked = some.toSorted((one, other) => rank(other, name) - rank(one, name) || rowsOf(other) - rowsOf(one));
  return ranked.flatMap((topic) =>
    bestOf(topic).map(({ name: field, isInner }) => ({ topic: topic.name, field, isInner })),
  );
}

// Numbers inside of columns have no pyramid: every row is read for them, so they come after those that have one.
function bestOf({ quantities, numbers }) {
  const isOutside = ({ isInner }) => !isInner;
  const choices = [quantities.filter(isOutside), quantities, numbers.filter(isOutside), numbers];
  return choices.find((fields) => fields.length > 0);
}

function rank(topic, name) {
  if (topic.name === name) return 3;
  if (rowsOf(topic) === 0) return 0;
  return topic.quantities.length > 0 ? 2 : 1;
}

function rowsOf({ rows }) {
  return rows ?? 1; // how many are in what is recorded now may be unknown: there may be some
}

// Fields inside of columns are taken to have some. A server that cannot tell leaves it open; what is wrong is said
// where the curves are drawn.
async function withValues({ path, extent }, candidates) {
  const asked = candidates.filter(({ isInner }) => !isInner);
  if (extent === null || asked.length === 0) return candidates;
  try {
    const answer = await frame(`${path}/curves`, { fields: asked.map(linkOf), points: POINTS });
    const found = curvesOf(answer, extent.startNs);
    const empty = new Set(asked.filter((_, n) => !hasValue(found[n])));
    return candidates.filter((field) => !empty.has(field));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return candidates;
  }
}
