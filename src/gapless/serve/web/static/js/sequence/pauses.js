// Where a line must not be drawn: over gaps, and over pauses, times many times longer than the usual step without rows.

const LONG = 10; // usual steps; what is irregular by less is drawn as one line
const LEAST = 8; // points that make a step usual

/**
 * Return for each point whether a pause parts it from the one before. Points begin at ``starts`` and end at ``ends``,
 * rising offsets; those of rows are the same. A bucket with a pause within it is parted from both its neighbours.
 */
export function pausesBefore(starts, ends = starts) {
  const most = LONG * usualStep(starts);
  const isLong = (n) => ends[n] - starts[n] > most;
  return Array.from(starts, (start, n) => n > 0 && (start - ends[n - 1] > most || isLong(n) || isLong(n - 1)));
}

/** Return for each bucket whether there is a pause within it: its rows fill only a part of its width. */
export function pausesWithin(starts, ends) {
  const most = LONG * usualStep(starts);
  return Array.from(starts, (start, n) => ends[n] - start > most);
}

function usualStep(starts) {
  const steps = Float64Array.from({ length: Math.max(0, starts.length - 1) }, (_, n) => starts[n + 1] - starts[n]);
  return steps.length < LEAST ? Infinity : steps.toSorted()[steps.length >> 1];
}

/** Return for each point whether one of the gaps, `[{x0, x1}]` in drawn offsets, parts it from the one before. */
export function gapsBefore(x, gaps) {
  const isBetween = (before, at) => gaps.some(({ x0, x1 }) => before <= x1 && at >= x0 && x0 >= before && x0 < at);
  return Array.from(x, (at, n) => n > 0 && isBetween(x[n - 1], at));
}

/** Return those of the gaps that are at least as wide as most of the buckets. */
export function wideGaps(gaps, starts, ends) {
  const widths = Float64Array.from(starts, (start, n) => ends[n] - start).toSorted();
  return gaps.filter(({ x0, x1 }) => x1 - x0 >= (widths[widths.length >> 1] ?? 0));
}

/** Return for each row, at rising drawn offsets, whether a pause or one of the gaps parts it from the one before. */
export function rowsParted(x, gaps) {
  const pauses = pausesBefore(x);
  return gapsBefore(x, gaps).map((isGap, n) => isGap || pauses[n]);
}

/** Return the same of buckets `{left, right, x}`; gaps narrower than most are in nearly every bucket of much. */
export function bucketsParted({ left, right, x }, gaps) {
  const pauses = pausesBefore(left, right);
  return gapsBefore(x, wideGaps(gaps, left, right)).map((isGap, n) => isGap || pauses[n]);
}

/**
 * Return the outline `{x, y}` of the band `{x, low, high}`: one area for each run of points that nothing parts, holes
 * between them. A point without both numbers ends its run, too.
 */
export function bandOutline({ x, low, high }, isParted) {
  const outline = { x: [], y: [] };
  let run = [];
  const close = () => {
    const back = run.toReversed();
    outline.x.push(...[...run, ...back].map((n) => x[n]), NaN);
    outline.y.push(...run.map((n) => low[n]), ...back.map((n) => high[n]), NaN);
    run = [];
  };
  x.forEach((_, n) => {
    if (isParted[n]) close();
    if (Number.isFinite(low[n]) && Number.isFinite(high[n])) run.push(n);
    else close();
  });
  close();
  return outline;
}

/** Return a line `{x, y}` that is broken before the points that are parted from the one before. */
export function broken({ x, y }, isParted) {
  const [xs, ys] = [[], []];
  x.forEach((at, n) => {
    if (isParted[n]) {
      xs.push((x[n - 1] + at) / 2);
      ys.push(NaN);
    }
    xs.push(at);
    ys.push(y[n]);
  });
  return { x: xs, y: ys };
}

/** Return the points `{x, y}` that no line leads to or from: without a dot they would not be seen. */
export function lonely({ x, y }, isParted) {
  const kept = lonelyAt(isParted);
  return { x: kept.map((n) => x[n]), y: kept.map((n) => y[n]) };
}

/** Return the places of those points, of as many points as there are flags. */
export function lonelyAt(isParted) {
  const last = isParted.length - 1;
  const isAlone = (n) => (n === 0 || isParted[n]) && (n === last || isParted[n + 1]);
  return Array.from(isParted.keys()).filter(isAlone);
}
