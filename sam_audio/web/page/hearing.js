// What the audio tower is given: peav/nano/sound.py and `_mel` of sam_audio/separator/nano/onnx_engine.py in JavaScript.

import { Fft } from "./fft.js";

export class Hearing {
  constructor(nano) {
    this.nano = nano;
    this.fft = new Fft(nano.mel_n_fft);
    const bins = nano.mel_filters.length / nano.n_mels;
    // most of the filters' values are 0: each keeps the stretch that is not
    this.filters = Array.from({ length: nano.n_mels }, (_, mel) => {
      const column = Float32Array.from({ length: bins }, (_, k) => nano.mel_filters[k * nano.n_mels + mel]);
      const first = column.findIndex((x) => x > 0);
      return { first, values: column.slice(first, column.findLastIndex((x) => x > 0) + 1) };
    });
    this.bins = bins;
  }

  // Log-mel features (frames, N_MELS) of the first T frames of a sound of C channels; channels meet as energies.
  mel(sound, nFrames) {
    const { nano } = this;
    const length = paddedFrames(nano, nFrames) * nano.hop;
    const silence = (nano.mel_block - (length % nano.mel_block)) % nano.mel_block; // goes before the sound
    const padded = sound.map((channel) => {
      const samples = new Float32Array(silence + length + nano.mel_window.length - nano.mel_hop);
      samples.set(channel.subarray(0, nFrames * nano.hop), silence);
      return samples;
    });
    const gain = this.gain(padded, silence + length);
    const mels = (silence + length) / nano.mel_hop;
    const out = new Float32Array(mels * nano.n_mels);
    for (let frame = 0; frame < mels; frame++) {
      for (let channel = 0; channel < sound.length; channel += 2) {
        this.add(out, frame, gain, padded[channel], padded[channel + 1]);
      }
    }
    for (let i = 0; i < out.length; i++) out[i] = Math.log(out[i] / sound.length) / 2;
    return out;
  }

  // Adds squares of the magnitudes that the filters let through of one frame of one or two channels.
  add(out, frame, gain, a, b) {
    const { fft, nano, bins } = this;
    const start = frame * nano.mel_hop;
    fft.re.fill(0);
    fft.im.fill(0);
    for (let i = 0; i < nano.mel_window.length; i++) {
      fft.re[i] = a[start + i] * gain * nano.mel_window[i];
      if (b) fft.im[i] = b[start + i] * gain * nano.mel_window[i];
    }
    fft.forward();
    const magnitudes = [new Float64Array(bins), new Float64Array(bins)];
    for (let k = 0; k < bins; k++) {
      const mirror = k ? nano.mel_n_fft - k : 0;
      // a third: a frame holds three times the samples it would have at 16 kHz
      magnitudes[0][k] = Math.hypot(fft.re[k] + fft.re[mirror], fft.im[k] - fft.im[mirror]) / 6;
      magnitudes[1][k] = Math.hypot(fft.im[k] + fft.im[mirror], fft.re[mirror] - fft.re[k]) / 6;
    }
    for (const magnitude of b ? magnitudes : [magnitudes[0]]) {
      this.filters.forEach(({ first, values }, mel) => {
        let sum = nano.log_offset;
        for (let i = 0; i < values.length; i++) sum += values[i] * magnitude[first + i];
        out[frame * nano.n_mels + mel] += sum ** 2;
      });
    }
  }

  // What brings the loud part of a sound to one level.
  gain(sound, length) {
    const { nano } = this;
    const powers = [];
    for (let start = 0; start < length; start += nano.frame) {
      let sum = 0;
      for (const channel of sound) {
        for (let i = start; i < Math.min(start + nano.frame, length); i++) sum += channel[i] ** 2;
      }
      powers.push(sum / sound.length / nano.frame);
    }
    const least = powers.reduce((a, b) => Math.max(a, b), 0) * nano.loud;
    const loud = powers.filter((power) => power >= least);
    const level = Math.sqrt(loud.reduce((a, b) => a + b, 0) / loud.length);
    return Math.min(nano.level / Math.max(level, 1e-9), nano.most_gain);
  }
}

// How many frames the trunk is given of an excerpt.
export const paddedFrames = (nano, nFrames) => Math.ceil(nFrames / nano.time_multiple) * nano.time_multiple;
