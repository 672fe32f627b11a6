// Conversion of sample rates, block by block, without delay: a windowed sinc in all the phases that two rates need.
//
// Passband and stopband are those of soxr's "HQ", which converts in Python: flat up to 0.9136 of what the lower rate
// can hold, 126 dB down at its end.

const PASSBAND = 0.9136;
const REJECTION_DB = 126;

export class Resampler {
  constructor(fromHz, toHz, channels) {
    const common = divisor(fromHz, toHz);
    [this.up, this.down] = [toHz / common, fromHz / common];
    const cutoff = Math.min(1, toHz / fromHz);
    this.half = Math.ceil((REJECTION_DB - 7.95) / (2.285 * Math.PI * (1 - PASSBAND) * cutoff) / 2);
    this.passes = this.up === this.down;
    if (!this.passes) this.taps = filters(this.up, this.half, (cutoff * (1 + PASSBAND)) / 2);
    this.held = Array.from({ length: channels }, () => new Float32Array(this.half)); // silence before the sound
    this.next = 0; // phase of the next sample, in parts of a sample from the middle of what is held
    this.taken = 0;
    this.given = 0;
  }

  // Channels of n samples each -> channels of as many as can be told of them.
  push(blocks) {
    if (this.passes) return blocks;
    this.taken += blocks[0].length;
    return this.convert(blocks);
  }

  // What the filter still holds.
  finish() {
    if (this.passes) return this.held.map(() => new Float32Array(0));
    const owed = Math.ceil((this.taken * this.up) / this.down) - this.given;
    const rest = this.convert(this.held.map(() => new Float32Array(this.half + 1)));
    return rest.map((channel) => channel.subarray(0, owed));
  }

  convert(blocks) {
    const { up, down, half, taps } = this;
    const width = 2 * half;
    const held = this.held.map((before, channel) => joined(before, blocks[channel]));
    const positions = held[0].length - width + 1; // where a filter fits
    const count = Math.max(0, Math.ceil((positions * up - this.next) / down));
    const out = held.map((samples) => {
      const converted = new Float32Array(count);
      let phase = this.next;
      for (let n = 0; n < count; n++, phase += down) {
        const start = Math.floor(phase / up);
        let tap = (phase - start * up) * width;
        let sum = 0;
        for (let i = start, stop = start + width; i < stop; i++, tap++) sum += samples[i] * taps[tap];
        converted[n] = sum;
      }
      return converted;
    });
    const end = this.next + count * down;
    const gone = Math.min(Math.floor(end / up), held[0].length);
    this.next = end - gone * up;
    this.held = held.map((samples) => samples.slice(gone));
    this.given += count;
    return out;
  }
}

// (up phases, 2 * half taps), flat: the filter of phase p has its middle p / up after its tap `half`.
function filters(up, half, cutoff) {
  const beta = 0.1102 * (REJECTION_DB - 8.7);
  const taps = new Float32Array(up * 2 * half);
  for (let phase = 0; phase < up; phase++) {
    for (let tap = 0; tap < 2 * half; tap++) {
      const t = tap - half - phase / up;
      const inside = 1 - (t / (half + 1)) ** 2;
      const sinc = t ? Math.sin(Math.PI * cutoff * t) / (Math.PI * t) : cutoff;
      taps[phase * 2 * half + tap] = (sinc * bessel(beta * Math.sqrt(Math.max(inside, 0)))) / bessel(beta);
    }
  }
  return taps;
}

// Modified Bessel function of the first kind and order 0.
function bessel(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > 1e-12 * sum; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

function joined(before, after) {
  const all = new Float32Array(before.length + after.length);
  all.set(before);
  all.set(after, before.length);
  return all;
}
