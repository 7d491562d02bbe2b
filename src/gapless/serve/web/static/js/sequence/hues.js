// Colours from early to late that differ in lightness too, so that they tell time to eyes of any kind.

const LIGHT = [
  [11, 60, 140],
  [20, 125, 140],
  [195, 85, 20],
];
const DARK = [
  [90, 130, 255],
  [70, 205, 190],
  [255, 225, 90],
];

/** Return `count` colours in order of time, for the theme that is on screen. */
export function hues(count) {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark";
  const stops = isDark ? DARK : LIGHT;
  return Array.from({ length: count }, (_, n) => between(stops, count < 2 ? 0 : n / (count - 1)));
}

function between(stops, share) {
  const at = Math.min(share * (stops.length - 1), stops.length - 1 - 1e-9);
  const [from, to, part] = [stops[Math.floor(at)], stops[Math.floor(at) + 1], at % 1];
  const mixed = from.map((colour, n) => Math.round(colour + (to[n] - colour) * part));
  return `rgb(${mixed.join(" ")})`.replaceAll(" ", ",");
}
