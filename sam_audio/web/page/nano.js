// The nano networks on ONNX Runtime: what is loaded, and what is asked of it (sam_audio/separator/nano/onnx_engine.py).

import * as ort from "./runtime/ort.wasm.min.mjs";
import { Hearing, paddedFrames } from "./hearing.js";
import { features, hedged } from "./masks.js";
import { Tensors } from "./safetensors.js";
import { Stream } from "./stream.js";
import { Words } from "./words.js";

const floats = (data, ...dims) => new ort.Tensor("float32", data, dims);

export class Nano {
  // Fetches all that there is to fetch; `progress` is told how much of it is there, 0..1.
  static async load(threads, progress = () => {}) {
    const manifest = await (await fetch("nano.json")).json();
    const all = Object.values(manifest.bytes).reduce((a, b) => a + b);
    let got = 0;
    const files = {};
    for (const name of Object.keys(manifest.bytes)) {
      files[name] = await fetched(name, (bytes) => progress((got += bytes) / all));
    }
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = new URL("runtime/", import.meta.url).href;
    ort.env.wasm.wasmBinary = await unpacked(files[manifest.runtime]);
    const nano = new Nano();
    nano.manifest = manifest;
    nano.geometry = { ...manifest.geometry };
    const arrays = new Tensors(files[manifest.arrays]);
    for (const name of Object.keys(arrays.header)) nano.geometry[name] = arrays.stored(name);
    nano.hearing = new Hearing(nano.geometry);
    nano.words = new Words(JSON.parse(new TextDecoder().decode(files[manifest.tokenizer])), manifest.words);
    const weights = {};
    for (const [name, { graph, weights: wanted }] of Object.entries(manifest.graphs)) {
      const externalData = Object.entries(wanted).map(([path, [file, tensor]]) => {
        weights[file] ??= new Tensors(files[file]);
        return { path, data: new Uint8Array(weights[file].weights(tensor).buffer) };
      });
      nano[name] = await ort.InferenceSession.create(new Uint8Array(files[graph]), {
        externalData,
        executionProviders: ["wasm"],
      });
    }
    return nano;
  }

  // Unit vectors (N, 384), flat.
  async vectors(texts) {
    const vectors = [];
    for (const text of texts) {
      const tokens = this.words.tokens(text);
      const shape = [1, tokens.length];
      const found = await this.text.run({
        tokens: new ort.Tensor("int64", BigInt64Array.from(tokens, BigInt), shape),
        valid_mask: new ort.Tensor("bool", new Uint8Array(tokens.length).fill(1), shape),
      });
      vectors.push(...found.vectors.data);
    }
    return Float32Array.from(vectors);
  }

  // A stream that separates a recording of C channels.
  open(vectors, channels) {
    const prompts = vectors.length / this.geometry.dim;
    const masksOf = async (sound, energies, nFrames) => hedged(
      await this.masks(await this.listen(sound, energies, nFrames), energies, nFrames, vectors, prompts), energies);
    return new Stream(this.geometry, masksOf, prompts, channels);
  }

  // What is heard in a window of T frames, as the graph of answers takes it.
  async listen(sound, energies, nFrames) {
    const g = this.geometry;
    const padded = paddedFrames(g, nFrames);
    const mel = this.hearing.mel(sound, nFrames);
    const sensed = await this.audio.run({ mel: floats(mel, 1, mel.length / g.n_mels, g.n_mels) });
    const seen = { features: floats(features(energies, g.n_bands, nFrames, padded), 1, 2, g.n_bands, padded) };
    for (let level = 0; level < g.n_maps; level++) {
      seen[`map${level}`] = newest(sensed[`map${level}`], (padded / g.time_multiple) * 2 ** (g.n_maps - 1 - level));
    }
    const { bases, tokens, columns } = await this.trunk.run(seen);
    const frames = (padded * g.hop) / g.frame; // of the tower; silence was put before the sound
    const all = sensed.frames.dims[1];
    const kept = Math.ceil((nFrames * g.hop) / g.frame);
    const data = sensed.frames.data.slice((all - frames) * g.dim, (all - frames + kept) * g.dim);
    return { bases, tokens, columns, frames: floats(data, 1, kept, g.dim) };
  }

  // How much of every band and frame belongs to each prompt: N arrays (N_BANDS, T) of 0..1.
  async masks(heard, energies, nFrames, vectors, prompts) {
    const g = this.geometry;
    const yes = () => new ort.Tensor("bool", new Uint8Array(prompts).fill(1), [1, prompts]);
    const { masks } = await this.answer.run({
      ...heard,
      energies: floats(energies, 1, g.n_bands, nFrames),
      vectors: floats(vectors, 1, prompts, g.dim),
      known: yes(),
      together: yes(),
      spans: floats(new Float32Array(prompts * 2 * nFrames), 1, prompts, 2, nFrames),
      listen: floats(Float32Array.of(1), 1, 1, 1),
    });
    const size = g.n_bands * nFrames;
    return Array.from({ length: prompts }, (_, n) => masks.data.slice(n * size, (n + 1) * size));
  }
}

// The end of a map (1, C, t, mel rows), which may begin before the excerpt.
function newest(map, n) {
  const [, channels, length, width] = map.dims;
  const out = new Float32Array(channels * n * width);
  for (let c = 0; c < channels; c++) {
    out.set(map.data.subarray((c * length + length - n) * width, (c + 1) * length * width), c * n * width);
  }
  return floats(out, 1, channels, n, width);
}

async function fetched(name, progress) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} could not be fetched: ${response.status}`);
  const parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).arrayBuffer();
    parts.push(value);
    progress(value.length);
  }
}

// Of a gzip file its content, unless the browser has unpacked it already, because the server said what it is.
async function unpacked(bytes) {
  if (new Uint8Array(bytes)[0] !== 0x1f) return bytes;
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
