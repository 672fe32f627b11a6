// From sound to spectra and bands, and from masks back to sound: sam_audio/separator/nano/synthesis.py in JavaScript.
//
// A spectrum of C channels is one Float32Array: for each channel N_BINS real parts, then N_BINS imaginary ones.

import { Fft } from "./fft.js";

export class Spectra {
  // `nano` holds the geometry and the arrays that Python wrote.
  constructor(nano) {
    this.nano = nano;
    this.fft = new Fft(nano.n_fft);
  }

  // Spectrum of the frame that begins at a sample of a sound of C channels.
  frame(sound, start) {
    const { fft, nano } = this;
    const nBins = nano.n_bins;
    const out = new Float32Array(2 * nBins * sound.length);
    for (let channel = 0; channel < sound.length; channel += 2) {
      const [a, b] = [sound[channel], sound[channel + 1]];
      for (let i = 0; i < nano.n_fft; i++) {
        fft.re[i] = a[start + i] * nano.window[i];
        fft.im[i] = b ? b[start + i] * nano.window[i] : 0;
      }
      fft.forward();
      for (let k = 0, at = 2 * nBins * channel; k < nBins; k++, at++) {
        const mirror = k ? nano.n_fft - k : 0;
        out[at] = (fft.re[k] + fft.re[mirror]) / 2;
        out[at + nBins] = (fft.im[k] - fft.im[mirror]) / 2;
        if (!b) continue;
        out[at + 2 * nBins] = (fft.im[k] + fft.im[mirror]) / 2;
        out[at + 3 * nBins] = (fft.re[mirror] - fft.re[k]) / 2;
      }
    }
    return out;
  }

  // Energies of the bands, averaged over channels: T spectra -> (N_BANDS, T).
  energies(spectra, channels) {
    const { band_edges: edges, n_bands: nBands, n_bins: nBins } = this.nano;
    const out = new Float32Array(nBands * spectra.length);
    spectra.forEach((spectrum, t) => {
      for (let band = 0; band < nBands; band++) {
        let sum = 0;
        for (let channel = 0; channel < channels; channel++) {
          const at = 2 * nBins * channel;
          for (let k = at + edges[band]; k < at + edges[band + 1]; k++) {
            sum += spectrum[k] ** 2 + spectrum[k + nBins] ** 2;
          }
        }
        out[band * spectra.length + t] = sum / channels;
      }
    });
    return out;
  }
}

// Spectra to sound by weighted overlap-add, frame after frame without seams.
export class OverlapAdd {
  constructor(nano, rows) {
    this.nano = nano;
    this.fft = new Fft(nano.n_fft);
    this.sounds = Array.from({ length: rows }, () => new Float64Array(nano.n_fft));
    this.weight = new Float64Array(nano.n_fft);
    this.skip = nano.n_fft / 2; // samples before the middle of the first frame
  }

  // The samples that this frame settles: those of `rows` spectra -> HOP samples each, fewer at first.
  push(rows) {
    const { fft, nano } = this;
    const { hop, n_fft: nFft, n_bins: nBins, window } = nano;
    for (let row = 0; row < rows.length; row += 2) {
      const [a, b] = [rows[row], rows[row + 1]];
      for (let k = 0; k < nBins; k++) {
        const [ar, ai] = [a[k], k % (nBins - 1) ? a[k + nBins] : 0]; // of real sound the ends are real
        const [br, bi] = b ? [b[k], k % (nBins - 1) ? b[k + nBins] : 0] : [0, 0];
        fft.re[k] = ar - bi;
        fft.im[k] = ai + br;
        if (k % (nBins - 1) === 0) continue;
        fft.re[nFft - k] = ar + bi;
        fft.im[nFft - k] = br - ai;
      }
      fft.inverse();
      for (let i = 0; i < nFft; i++) {
        this.sounds[row][i] += fft.re[i] * window[i];
        if (b) this.sounds[row + 1][i] += fft.im[i] * window[i];
      }
    }
    for (let i = 0; i < nFft; i++) this.weight[i] += window[i] ** 2;
    const skipped = Math.min(this.skip, hop);
    this.skip -= skipped;
    const ready = this.sounds.map((sound) => {
      const settled = new Float32Array(hop - skipped);
      for (let i = skipped; i < hop; i++) settled[i - skipped] = sound[i] / Math.max(this.weight[i], 1e-8);
      return settled;
    });
    for (const sums of [...this.sounds, this.weight]) sums.copyWithin(0, hop).fill(0, nFft - hop);
    return ready;
  }
}
