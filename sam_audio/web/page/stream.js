// Separates one recording as it comes: window after window, cross-faded (sam_audio/separator/nano/stream.py).

import { OverlapAdd, Spectra } from "./spectra.js";
import { fade } from "./masks.js";

export class Stream {
  // `masksOf(sound, energies, nFrames)` gives a promise of the masks of N prompts in a window.
  constructor(nano, masksOf, prompts, channels) {
    this.nano = nano;
    this.masksOf = masksOf;
    this.prompts = prompts;
    this.channels = channels;
    this.analysis = new Spectra(nano);
    this.synthesis = new OverlapAdd(nano, prompts * channels);
    // frame t is centred on sample t * HOP, so the first one starts half a window before the recording
    this.samples = this.nothing(nano.n_fft / 2);
    this.sound = this.nothing(0); // of the spectra, for the audio tower
    this.spectra = [];
    this.before = null; // masks of the window before, where it overlaps with the next
    this.pushed = 0;
    this.emitted = 0;
  }

  nothing(length) {
    return Array.from({ length: this.channels }, () => new Float32Array(length));
  }

  // C channels in; N * C channels out, a promise of them: those of the first prompt come first.
  async push(samples) {
    this.pushed += samples[0].length;
    this.analyse(samples);
    const out = [];
    const { window_frames: window, overlap_frames: overlap } = this.nano;
    while (this.spectra.length >= window) out.push(...(await this.separate(window, window - overlap)));
    return this.joined(out);
  }

  async finish() {
    if (!this.pushed) return this.joined([]);
    const { window_frames: window, overlap_frames: overlap, n_fft: nFft, hop } = this.nano;
    this.analyse(this.nothing(nFft + hop)); // until every sample has all the frames that touch it
    const out = [];
    while (this.spectra.length > window) out.push(...(await this.separate(window, window - overlap)));
    out.push(...(await this.separate(this.spectra.length, this.spectra.length)));
    const owed = this.pushed - this.emitted;
    return this.joined(out).map((row) => row.subarray(0, owed));
  }

  // Appends all frames that the new samples complete.
  analyse(samples) {
    this.sound = appended(this.sound, samples);
    this.samples = appended(this.samples, samples);
    let start = 0;
    for (; start + this.nano.n_fft <= this.samples[0].length; start += this.nano.hop) {
      this.spectra.push(this.analysis.frame(this.samples, start));
    }
    this.samples = this.samples.map((channel) => channel.slice(start));
  }

  // Runs the network on the next window; returns the sound of the frames that are now settled, frame by frame.
  async separate(nFrames, settled) {
    const { hop, n_bands: nBands, overlap_frames: overlap } = this.nano;
    const window = this.spectra.slice(0, nFrames);
    const energies = this.analysis.energies(window, this.channels);
    const masks = await this.masksOf(this.sound, energies, nFrames);
    if (this.before) fade(this.before, masks, nBands, nFrames, overlap);
    this.before = masks.map((mask) => {
      const later = new Float32Array(nBands * overlap);
      for (let band = 0; band < nBands; band++) {
        later.set(mask.subarray(band * nFrames + settled, (band + 1) * nFrames), band * overlap);
      }
      return later;
    });
    const out = [];
    for (let t = 0; t < settled; t++) out.push(this.synthesis.push(this.rows(masks, nFrames, t)));
    this.spectra.splice(0, settled);
    this.sound = this.sound.map((channel) => channel.slice(settled * hop));
    return out;
  }

  // What masks leave of the spectra of a frame: together they never take more than there is.
  rows(masks, nFrames, t) {
    const { band_edges: edges, n_bands: nBands, n_bins: nBins } = this.nano;
    const spectrum = this.spectra[t];
    const rows = Array.from({ length: this.prompts * this.channels }, () => new Float32Array(2 * nBins));
    for (let band = 0; band < nBands; band++) {
      const taken = masks.reduce((sum, mask) => sum + mask[band * nFrames + t], 0);
      rows.forEach((row, n) => {
        const gain = masks[Math.floor(n / this.channels)][band * nFrames + t] / Math.max(taken, 1);
        const at = 2 * nBins * (n % this.channels);
        for (let k = edges[band]; k < edges[band + 1]; k++) {
          row[k] = gain * spectrum[at + k];
          row[k + nBins] = gain * spectrum[at + k + nBins];
        }
      });
    }
    return rows;
  }

  joined(frames) {
    const rows = Array.from({ length: this.prompts * this.channels }, (_, row) =>
      frames.length ? concatenated(frames.map((frame) => frame[row])) : new Float32Array(0),
    );
    this.emitted += rows[0].length;
    return rows;
  }
}

export function concatenated(parts) {
  const all = new Float32Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const appended = (before, after) => before.map((channel, n) => concatenated([channel, after[n]]));
