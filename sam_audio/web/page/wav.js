// Wav files: read block by block, so that the samples are exactly those of the file, and written as 32-bit float.

const READERS = {
  "1/8": [1, (view, at) => (view.getUint8(at) - 128) / 2 ** 7],
  "1/16": [2, (view, at) => view.getInt16(at, true) / 2 ** 15],
  "1/24": [3, (view, at) => ((view.getInt8(at + 2) << 16) | view.getUint16(at, true)) / 2 ** 23],
  "1/32": [4, (view, at) => view.getInt32(at, true) / 2 ** 31],
  "3/32": [4, (view, at) => view.getFloat32(at, true)],
  "3/64": [8, (view, at) => view.getFloat64(at, true)],
};
const EXTENSIBLE = 0xfffe;
const BLOCK_FRAMES = 1 << 16;
export const MOST_BYTES = 2 ** 32 - 1; // that a wav file can hold

// The wav file in a Blob: {sampleRate, channels, frames, blocks()}; null if it is none that is read here.
export async function openWav(blob) {
  let format = null;
  for (let at = 12, header; at + 8 <= blob.size; at += 8 + header.size + (header.size % 2)) {
    const view = new DataView(await blob.slice(at, at + 8 + 40).arrayBuffer());
    header = { name: text(view, 0), size: view.getUint32(4, true) };
    if (at === 12 && !(await isWav(blob))) return null;
    if (header.name === "fmt ") format = formatOf(view);
    if (header.name !== "data" || !format) continue;
    const { kind, channels, sampleRate } = format;
    if (!READERS[kind] || !channels || !sampleRate) return null;
    const [bytes, read] = READERS[kind];
    const start = at + 8;
    // a recorder that was cut off leaves a size of 0, or a larger one than there is
    const size = Math.min(header.size || Infinity, blob.size - start);
    const frames = Math.floor(size / bytes / channels);
    return { sampleRate, channels, frames, blocks: () => blocks(blob, start, frames, channels, bytes, read) };
  }
  return null;
}

async function isWav(blob) {
  const view = new DataView(await blob.slice(0, 12).arrayBuffer());
  return text(view, 0) === "RIFF" && text(view, 8) === "WAVE";
}

function formatOf(view) {
  let code = view.getUint16(8, true);
  const bits = view.getUint16(22, true);
  if (code === EXTENSIBLE && view.byteLength >= 34) code = view.getUint16(32, true);
  return { kind: `${code}/${bits}`, channels: view.getUint16(10, true), sampleRate: view.getUint32(12, true) };
}

async function* blocks(blob, start, frames, channels, bytes, read) {
  for (let first = 0; first < frames; first += BLOCK_FRAMES) {
    const n = Math.min(BLOCK_FRAMES, frames - first);
    const from = start + first * channels * bytes;
    const view = new DataView(await blob.slice(from, from + n * channels * bytes).arrayBuffer());
    yield Array.from({ length: channels }, (_, channel) =>
      Float32Array.from({ length: n }, (_, i) => read(view, (i * channels + channel) * bytes)),
    );
  }
}

// Collects blocks of C channels into a wav file; the browser may keep them on disk.
export class WavWriter {
  constructor(sampleRate, channels) {
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.parts = [];
    this.bytes = 0;
  }

  write(block) {
    const samples = new Float32Array(block[0].length * this.channels);
    block.forEach((channel, c) => {
      for (let i = 0, at = c; i < channel.length; i++, at += this.channels) samples[at] = channel[i];
    });
    this.parts.push(new Blob([samples])); // little-endian, as all that browsers run on
    this.bytes += samples.byteLength;
  }

  finish() {
    const view = new DataView(new ArrayBuffer(58));
    const frame = 4 * this.channels;
    "RIFF....WAVEfmt ".split("").forEach((char, i) => view.setUint8(i, char.charCodeAt(0)));
    view.setUint32(4, 50 + this.bytes, true);
    view.setUint32(16, 18, true);
    view.setUint16(20, 3, true); // float
    view.setUint16(22, this.channels, true);
    view.setUint32(24, this.sampleRate, true);
    view.setUint32(28, this.sampleRate * frame, true);
    view.setUint16(32, frame, true);
    view.setUint16(34, 32, true);
    "fact".split("").forEach((char, i) => view.setUint8(38 + i, char.charCodeAt(0)));
    view.setUint32(42, 4, true);
    view.setUint32(46, this.bytes / frame, true);
    "data".split("").forEach((char, i) => view.setUint8(50 + i, char.charCodeAt(0)));
    view.setUint32(54, this.bytes, true);
    return new Blob([view, ...this.parts], { type: "audio/wav" });
  }
}

const text = (view, at) => String.fromCharCode(...new Uint8Array(view.buffer, at, Math.min(4, view.byteLength - at)));
