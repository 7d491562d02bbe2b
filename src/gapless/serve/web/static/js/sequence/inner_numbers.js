// The numbers inside of columns, as the server tells them: `pose.position.x`; `joints[*]` stands for the elements.

const PLACE = "[*]";
const MOST = 32;
const FIRST = 16; // of lists whose length nobody declared

/** Return the fields of an inner number: it by itself, or the first elements of its lists. */
export function elements(inner) {
  const [first, ...rest] = inner.name.split(PLACE);
  let names = [first];
  rest.forEach((part, n) => {
    const places = Array.from({ length: shown(inner.lengths[n]) }, (_, place) => `[${place}]${part}`);
    names = names.flatMap((name) => places.map((place) => name + place)).slice(0, MOST);
  });
  return names.map((name) => field(inner, name));
}

/** Return the field of a name if it is an element of the lists of an inner number, however far behind; else null. */
export function element(inner, name) {
  if (inner.lengths.length === 0) return null;
  const parts = inner.name.split(PLACE).map(escaped);
  const found = name.match(new RegExp(`^${parts.join("\\[(0|[1-9]\\d{0,8})\\]")}$`));
  const isThere = found?.slice(1).every((place, n) => Number(place) < (inner.lengths[n] ?? Infinity));
  return isThere ? field(inner, name) : null;
}

/** Return the name of an element that `elements` leaves out, null where it has all of them. */
export function leftOut(inner) {
  const all = inner.lengths.reduce((product, length) => product * (length ?? Infinity), 1);
  if (all <= elements(inner).length) return null;
  const places = inner.lengths.map((length) => Math.min(shown(length), (length ?? Infinity) - 1));
  return places.reduce((name, place) => name.replace(PLACE, () => `[${place}]`), inner.name);
}

function shown(length) {
  return Math.min(length ?? FIRST, MOST);
}

function field({ column, unit, description, lengths }, name) {
  return { name, column, unit, description, numeric: true, isInner: true, isElement: lengths.length > 0 };
}

function escaped(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
