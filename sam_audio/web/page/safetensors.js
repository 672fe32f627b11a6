// Reads safetensors; weights are stored as float16, or as int8 with a float16 scale per row (`name.scale`), as
// peav/checkpoints.py writes them, and become float32.

const SCALE = ".scale";
const KINDS = { F32: Float32Array, F16: Uint16Array, I8: Int8Array, I32: Int32Array };

export class Tensors {
  constructor(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    this.header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    this.data = buffer.slice(8 + length); // a copy begins where typed arrays may
  }

  stored(name) {
    const { dtype, data_offsets: [start, stop] } = this.header[name];
    const kind = KINDS[dtype];
    if (start % kind.BYTES_PER_ELEMENT) return new kind(this.data.slice(start, stop));
    return new kind(this.data, start, (stop - start) / kind.BYTES_PER_ELEMENT);
  }

  // Shape: (R, ...) float32, flat.
  weights(name) {
    const stored = this.stored(name);
    const dtype = this.header[name].dtype;
    if (dtype === "F16") return widened(stored);
    if (dtype !== "I8") return stored;
    const scale = widened(this.stored(name + SCALE));
    const perRow = stored.length / scale.length;
    const weights = new Float32Array(stored.length);
    for (let row = 0, at = 0; row < scale.length; row++) {
      for (const stop = at + perRow; at < stop; at++) weights[at] = stored[at] * scale[row];
    }
    return weights;
  }
}

const HALVES = new Float32Array(1 << 16).map((_, bits) => {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + mantissa / 1024) : 2 ** -24 * mantissa);
});

function widened(halves) {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = HALVES[halves[i]];
  return values;
}
