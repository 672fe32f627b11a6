// Opens any recording that the browser can decode, at the rate that it was made with.

import { openWav } from "./wav.js";

const BLOCK_FRAMES = 1 << 16;

// {sampleRate, channels, frames, file} of a wav file, which is read where it lies, or {..., samples} of another.
export async function openRecording(file) {
  const wav = await openWav(file);
  if (wav) return { sampleRate: wav.sampleRate, channels: wav.channels, frames: wav.frames, file };
  const bytes = await file.arrayBuffer();
  const sampleRate = rateOf(new Uint8Array(bytes));
  // a context converts what it decodes to its own rate
  const decoded = await new OfflineAudioContext(1, 1, sampleRate).decodeAudioData(bytes);
  const samples = Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
  return { sampleRate, channels: samples.length, frames: decoded.length, samples };
}

// Of what openRecording gave, blocks of C channels.
export async function* blocksOf(recording) {
  if (recording.file) return yield* (await openWav(recording.file)).blocks();
  for (let start = 0; start < recording.frames; start += BLOCK_FRAMES) {
    yield recording.samples.map((channel) => channel.subarray(start, start + BLOCK_FRAMES));
  }
}

const USUAL_HZ = 48000;
const MPEG_HZ = [44100, 48000, 32000];

// The rate that a file says it has, in Hz: of flac, ogg, mp3, and mp4; else a usual one.
function rateOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const said = startsWith(bytes, "fLaC") ? view.getUint32(18) >>> 12
    : startsWith(bytes, "OggS") ? rateOfOgg(view)
    : startsWith(bytes.subarray(4), "ftyp") ? rateOfMp4(view)
    : rateOfMpeg(view);
  return said >= 8000 && said <= 96000 ? said : USUAL_HZ;
}

function rateOfOgg(view) {
  const packet = 27 + view.getUint8(26); // the header of a page ends with as many lengths
  const bytes = new Uint8Array(view.buffer, packet, 16);
  if (startsWith(bytes, "\x01vorbis")) return view.getUint32(packet + 12, true);
  return startsWith(bytes, "\x7fFLAC") ? view.getUint32(packet + 27) >>> 12 : USUAL_HZ; // opus has this one
}

function rateOfMp4(view) {
  for (let at = 8; at + 32 < view.byteLength; at++) {
    if (view.getUint32(at) === 0x6d703461) return view.getUint16(at + 28); // mp4a
  }
  return USUAL_HZ;
}

function rateOfMpeg(view) {
  const bytes = new Uint8Array(view.buffer);
  let at = 0;
  if (startsWith(bytes, "ID3")) {
    at = 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]);
  }
  for (const stop = Math.min(at + 65536, bytes.length - 4); at < stop; at++) {
    const version = (bytes[at + 1] >> 3) & 3; // 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
    const rate = (bytes[at + 2] >> 2) & 3;
    if (bytes[at] !== 255 || bytes[at + 1] < 0xe0 || version === 1 || rate === 3) continue;
    return MPEG_HZ[rate] / { 3: 1, 2: 2, 0: 4 }[version];
  }
  return USUAL_HZ;
}

const startsWith = (bytes, text) => [...text].every((char, i) => bytes[i] === char.charCodeAt(0));
