// What surrounds the separator's network: sam_audio/separator/nano/synthesis.py in JavaScript. Masks of N prompts are
// an array of N Float32Arrays (N_BANDS, T).

const sum = (values) => values.reduce((a, b) => a + b, 0);

// What the trunk is given, padded to more frames: energies (N_BANDS, T) -> (2, N_BANDS, padded).
export function features(energies, nBands, nFrames, padded) {
  const mean = sum(energies) / energies.length;
  const out = new Float32Array(2 * nBands * padded);
  for (let band = 0; band < nBands; band++) {
    let before;
    for (let t = 0; t < padded; t++) {
      const at = band * padded + t;
      if (t >= nFrames) {
        out[at] = out[at - 1];
        out[nBands * padded + at] = out[nBands * padded + at - 1];
        continue;
      }
      const log = Math.log(energies[band * nFrames + t] / (mean + 1e-12) + 1e-7);
      out[at] = (log + 7) / 4;
      out[nBands * padded + at] = (log - (before ?? log)) / 2;
      before = log;
    }
  }
  return out;
}

// Softens masks of which most is in doubt, and lets them keep their energy.
export function hedged(masks, energies) {
  const whole = sum(energies) + 1e-20;
  const total = (of) => sum(energies.map((energy, i) => energy * of(i))) / whole;
  return masks.map((mask) => {
    const doubt = total((i) => mask[i] * (1 - mask[i])) / Math.max(total((i) => mask[i]), 1e-30);
    const power = Math.min(Math.max(2.5 - 3 * doubt, 0.4), 1);
    const soft = mask.map((x, i) => {
      const left = Math.max(1 - masks.reduce((taken, other) => taken + other[i], 0), 0);
      return Math.min(x ** power, x + left); // what the others are sure of is not in doubt
    });
    const keep = Math.sqrt(total((i) => mask[i] ** 2) / Math.max(total((i) => soft[i] ** 2), 1e-30));
    return soft.map((x) => x * keep);
  });
}

// Lets the first frames of masks, of T frames each, pass from those of the window before, of `overlap` frames.
export function fade(before, masks, nBands, nFrames, overlap) {
  const n = Math.min(overlap, nFrames);
  before.forEach((old, prompt) => {
    for (let band = 0; band < nBands; band++) {
      for (let t = 0; t < n; t++) {
        const was = old[band * overlap + t];
        masks[prompt][band * nFrames + t] = was + (masks[prompt][band * nFrames + t] - was) * ((t + 1) / (n + 1));
      }
    }
  });
}
