// What the server says of one sequence, in the words that the views of the page need.

import * as api from "../core/api.js";
import { element, elements, leftOut } from "./inner_numbers.js";
import { readingsOf } from "./view.js";

const MEDIA_TAGS = ["EncodedImage", "Image", "CompressedImage"];
const AT_ONCE = 24; // requests; a sequence may have hundreds of feature topics

/** Return the description of a sequence, what feature runs made of it included. */
export async function describe(name) {
  const path = `/sequences/${api.segment(name)}`;
  const raw = await api.get(path);
  return new Description(path, raw, await featureTopics(path, raw.features));
}

async function featureTopics(path, features) {
  const found = [];
  for (let n = 0; n < features.length; n += AT_ONCE) {
    const some = features.slice(n, n + AT_ONCE);
    const asked = some.map((topic) => api.get(`${path}/topics/${api.segment(topic.name)}`));
    found.push(...(await Promise.all(asked)));
  }
  return found;
}

/** One sequence; `raw` is the server's answer as it came, `features` the topics that feature runs made. */
class Description {
  constructor(path, raw, features) {
    this.path = path;
    this.raw = raw;
    this.name = raw.name;
    this.topics = [...raw.topics, ...features].map((topic) => new TopicDescription(path, topic));
  }

  /** True while rows may still come. */
  get isOpen() {
    return this.raw.state !== "sealed";
  }

  /** The topics that people recorded or computed, without those that the recording keeps for itself. */
  get ownTopics() {
    return this.topics.filter((topic) => !topic.name.startsWith("_"));
  }

  /** The first time and the time after the last row, null without rows. */
  get extent() {
    const [first, last] = [instant(this.raw.start_ns), instant(this.raw.end_ns)];
    return first === null ? null : { startNs: first, endNs: last + 1n };
  }

  /** The topic of a name, null if there is none. */
  topic(name) {
    return this.topics.find((topic) => topic.name === name) ?? null;
  }

  /** The field of a topic, null if there is none. */
  field({ topic, field }) {
    return this.topic(topic)?.number(field) ?? null;
  }

  /** Return the field `{topic, field}` that a link names; as the server reads it, see `linkOf`. */
  fieldOf(link) {
    const readings = readingsOf(link);
    const known = readings.filter(({ topic }) => this.topic(topic) !== null);
    return known.find((field) => this.#has(field)) ?? known[0] ?? readings[0];
  }

  // A text or struct is there, too, though it is not drawn.
  #has({ topic, field }) {
    return this.topic(topic).columns.has(field) || this.topic(topic).number(field) !== null;
  }

  /** The topics of pictures. */
  get cameras() {
    return this.ownTopics.filter((topic) => topic.isMedia && topic.rows !== 0);
  }

  /** The pairs of fields that are a position: `[{topic, x, y, isGlobe, stem}]`. */
  get tracks() {
    return this.ownTopics.filter(({ rows }) => rows !== 0).flatMap((topic) => topic.tracks);
  }
}

/** One topic of a sequence. */
class TopicDescription {
  constructor(path, raw) {
    this.raw = raw;
    this.name = raw.name;
    this.path = `${path}/topics/${api.segment(raw.name)}`;
    this.fields = raw.fields.filter(({ name }) => name !== "timestamp_ns" && name !== "_seq");
    this.tag = raw.ontology_tag ?? null;
    this.rows = raw.rows;
    this.startNs = instant(raw.start_ns);
    this.endNs = instant(raw.end_ns);
    this.columns = new Map(this.fields.map((field) => [field.name, field]));
    this.numbers = this.fields.flatMap((field) => (field.numeric ? [field] : this.#inside(field.name)));
  }

  // A column that is called as a value inside of another one comes first, here as on the server.
  #inside(column) {
    const found = this.raw.inner.filter((inner) => inner.column === column).flatMap(elements);
    return found.filter(({ name }) => !this.columns.has(name));
  }

  /** The field of a name that can be plotted: one of `numbers`, or a later element of a list; null if it is none. */
  number(name) {
    const known = this.numbers.find((field) => field.name === name) ?? null;
    if (known !== null || this.columns.has(name)) return known;
    return this.raw.inner.map((inner) => element(inner, name)).find((field) => field !== null) ?? null;
  }

  /** Elements that are not among the numbers, one of each list that is longer: the name to ask for one by. */
  get leftOut() {
    return this.raw.inner.map(leftOut).filter((name) => name !== null);
  }

  /** The numbers with a unit, without those that say how uncertain another is. */
  get quantities() {
    const spreads = new Set(this.fields.map(({ uncertainty }) => uncertainty));
    return this.numbers.filter(({ name, unit }) => unit && !spreads.has(name));
  }

  /** The numbers, those first that can be had without reading every row: an inner number is in no pyramid. */
  get foremost() {
    return this.numbers.toSorted((one, other) => Number(one.isInner ?? false) - Number(other.isInner ?? false));
  }

  /** True for pictures. */
  get isMedia() {
    return Boolean(this.raw.media) || MEDIA_TAGS.includes(this.tag);
  }

  /** The positions among the fields, see `Description.tracks`. */
  get tracks() {
    const names = new Set(this.numbers.filter(({ isElement }) => !isElement).map(({ name }) => name));
    const found = [];
    for (const name of names) {
      const { stem, partner, isGlobe } = halves(name, this.tag);
      if (partner === null || !names.has(partner)) continue;
      const [x, y] = isGlobe ? [partner, name] : [name, partner];
      found.push({ topic: this.name, x, y, isGlobe, stem });
    }
    return found;
  }
}

// What a name is the first half of. A GPS row keeps latitude in position.x and longitude in position.y.
function halves(name, tag) {
  const globe = name.match(/^(.*?)(latitude|lat)$/);
  if (globe) return { stem: globe[1], partner: globe[1] + (globe[2] === "lat" ? "lon" : "longitude"), isGlobe: true };
  const plane = name.match(/^(|.*\b(?:position|translation|point|pose)[._])x$/);
  if (plane) return { stem: plane[1], partner: `${plane[1]}y`, isGlobe: tag === "GPS" };
  return { stem: "", partner: null, isGlobe: false };
}

/** Return a time of the server as BigInt, null for none. */
export function instant(text) {
  return text === null || text === undefined ? null : BigInt(text);
}
