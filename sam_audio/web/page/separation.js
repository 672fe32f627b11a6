// The main path: a recording in, wav files of its stems and of what they leave out, always as long as the recording
// and at its rate (sam_audio/separation.py).

import { blocksOf } from "./recording.js";
import { Resampler } from "./resample.js";
import { concatenated } from "./stream.js";
import { Peaks } from "./peaks.js";
import { WavWriter } from "./wav.js";

// `goesOn(frames)` is told how many frames are done, and says whether the next are wanted. Returns {blob, peaks} of
// each prompt and of the residual; null if it was broken off.
export async function separate(nano, recording, prompts, goesOn) {
  const { sampleRate, channels, frames } = recording;
  const stream = nano.open(await nano.vectors(prompts), channels);
  const toModel = new Resampler(sampleRate, nano.geometry.sample_rate, channels);
  const toRecording = new Resampler(nano.geometry.sample_rate, sampleRate, prompts.length * channels);
  const writers = Array.from({ length: prompts.length + 1 }, () => new WavWriter(sampleRate, channels));
  const peaks = writers.map(() => new Peaks(frames));
  let mixture = Array.from({ length: channels }, () => new Float32Array(0)); // waits for its stems
  let done = 0;

  function settle(rows) {
    const n = Math.min(rows[0].length, mixture[0].length);
    const parts = prompts.map((_, stem) =>
      Array.from({ length: channels }, (_, c) => rows[stem * channels + c].subarray(0, n)));
    parts.push(mixture.map((samples, c) => left(samples.subarray(0, n), parts.map((part) => part[c]))));
    parts.forEach((part, stem) => {
      writers[stem].write(part);
      peaks[stem].add(part);
    });
    mixture = mixture.map((samples) => samples.slice(n));
    done += n;
  }

  for await (const block of blocksOf(recording)) {
    if (!(await goesOn(done))) return null;
    mixture = mixture.map((waiting, c) => concatenated([waiting, block[c]]));
    settle(toRecording.push(await stream.push(toModel.push(block))));
  }
  if (!(await goesOn(done))) return null;
  const rest = [await stream.push(toModel.finish()), await stream.finish()].map((rows) => toRecording.push(rows));
  rest.push(toRecording.finish());
  const rows = rest[0].map((_, row) => concatenated(rest.map((part) => part[row])));
  const missing = Math.max(0, mixture[0].length - rows[0].length); // two conversions of rate may lose a sample
  settle(rows.map((row) => concatenated([row, new Float32Array(missing)])));
  return writers.map((writer, stem) => ({ blob: writer.finish(), peaks: peaks[stem].columns }));
}

// What stems leave of a mixture.
function left(mixture, stems) {
  const sum = new Float32Array(mixture.length);
  for (const stem of stems) for (let i = 0; i < sum.length; i++) sum[i] += stem[i];
  for (let i = 0; i < sum.length; i++) sum[i] = mixture[i] - sum[i];
  return sum;
}
