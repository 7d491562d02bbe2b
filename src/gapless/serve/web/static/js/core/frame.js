// The binary frame: a JSON header and little-endian arrays that are viewed where they lie, without a copy.
// Layout: "GLF1", uint32 header length, JSON padded with spaces, arrays at multiples of 8 from its end.

const MAGIC = 0x31464c47; // "GLF1", read as a little-endian uint32
const PREFIX_BYTES = 8;

const ARRAYS = {
  f64: Float64Array,
  i64: BigInt64Array,
  u64: BigUint64Array,
  i32: Int32Array,
  u32: Uint32Array,
  u8: Uint8Array,
};

/**
 * Returns {header, columns, baseNs} of the bytes of a frame. `columns` is a Map from name to typed array;
 * times among them are float64 nanoseconds since `baseNs`, a BigInt. Throws a RangeError for bytes that are
 * no whole frame: half an answer is never drawn.
 */
export function decode(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < PREFIX_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw new RangeError("the answer is not a binary frame");
  }
  const start = PREFIX_BYTES + view.getUint32(4, true);
  if (start > buffer.byteLength) throw new RangeError("the frame ends within its header");
  const text = new TextDecoder("utf-8", { fatal: true }).decode(
    new Uint8Array(buffer, PREFIX_BYTES, start - PREFIX_BYTES),
  );
  const header = JSON.parse(text);
  const columns = new Map();
  for (const column of header.columns) columns.set(column.name, viewOf(buffer, start, column));
  return { header, columns, baseNs: BigInt(header.base_ns) };
}

function viewOf(buffer, start, { name, type, offset, length }) {
  const kind = ARRAYS[type];
  if (kind === undefined) throw new RangeError(`column ${name} has an unknown type: ${type}`);
  if (start + offset + length * kind.BYTES_PER_ELEMENT > buffer.byteLength) {
    throw new RangeError(`the frame ends within column ${name}`);
  }
  return new kind(buffer, start + offset, length);
}

/** The exact time in ns, a BigInt, of an offset from a frame's base. */
export function timeAt(baseNs, offset) {
  return baseNs + BigInt(Math.round(offset));
}

/** The offset of a time in ns from a frame's base: what a plot's axis counts in. */
export function offsetOf(baseNs, timeNs) {
  return Number(BigInt(timeNs) - baseNs);
}
