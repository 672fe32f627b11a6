// Opens any recording that the browser can decode, at the rate that it was made with.

import { openWav } from "./wav.js";

const BLOCK_FRAMES = 1 << 16;

// {sampleRate, channels, frames, file} of a wav file, which is read where it lies, or {..., samples} of another.
export async function openRecording(file) {
  const wav = await openWav(file);
  if (wav) return { sampleRate: wav.sampleRate, channels: wav.channels, frames: wav.frames, file };
  const bytes = await file.arrayBuffer();
  const context = contextOf(rateOf(new Uint8Array(bytes)));
  const decoded = await context.decodeAudioData(bytes);
  const samples = Array.from({ length: decoded.numberOfChannels }, (_, n) => decoded.getChannelData(n));
  return { sampleRate: decoded.sampleRate, channels: samples.length, frames: decoded.length, samples };
}

// Of what openRecording gave, blocks of C channels.
export async function* blocksOf(recording) {
  if (recording.file) return yield* (await openWav(recording.file)).blocks();
  for (let start = 0; start < recording.frames; start += BLOCK_FRAMES) {
    yield recording.samples.map((channel) => channel.subarray(start, start + BLOCK_FRAMES));
  }
}

// What decodes, and converts to its own rate.
function contextOf(sampleRate) {
  try {
    return new OfflineAudioContext(1, 1, sampleRate);
  } catch { // no rate that this browser has
    return new OfflineAudioContext(1, 1, USUAL_HZ);
  }
}

const USUAL_HZ = 48000;
const MPEG_HZ = [44100, 48000, 32000];
const AAC_HZ = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000];

// The rate that a file says it has, in Hz: of flac, ogg, mp4, webm and mkv, mp3 and aac; else a usual one.
function rateOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 64) return USUAL_HZ;
  if (startsWith(bytes, "fLaC")) return view.getUint32(18) >>> 12;
  if (startsWith(bytes, "OggS")) return rateOfOgg(view);
  if (startsWith(bytes.subarray(4), "ftyp")) return rateOfMp4(view);
  if (startsWith(bytes, "\x1aE\xdf\xa3")) return rateOfMatroska(view);
  return rateOfMpeg(bytes);
}

function rateOfOgg(view) {
  const packet = 27 + view.getUint8(26); // the header of a page ends with as many lengths
  const bytes = new Uint8Array(view.buffer, packet, 16);
  if (startsWith(bytes, "\x01vorbis")) return view.getUint32(packet + 12, true);
  return startsWith(bytes, "\x7fFLAC") ? view.getUint32(packet + 27) >>> 12 : USUAL_HZ; // opus has this one
}

function rateOfMp4(view) {
  for (let at = 8; at + 32 < view.byteLength; at++) {
    const kind = view.getUint32(at);
    if (kind === 0x6d703461 || kind === 0x616c6163) return view.getUint16(at + 28); // mp4a, alac
  }
  return USUAL_HZ;
}

// SamplingFrequency, among the first elements: a float of four or eight bytes.
function rateOfMatroska(view) {
  for (let at = 0; at < Math.min(65536, view.byteLength - 10); at++) {
    if (view.getUint8(at) !== 0xb5) continue;
    const size = view.getUint8(at + 1);
    const rate = size === 0x84 ? view.getFloat32(at + 2) : size === 0x88 ? view.getFloat64(at + 2) : 0;
    if (rate >= 8000 && Number.isInteger(rate)) return rate;
  }
  return USUAL_HZ;
}

function rateOfMpeg(bytes) {
  const tagged = startsWith(bytes, "ID3");
  const start = tagged ? 10 + ((bytes[6] << 21) | (bytes[7] << 14) | (bytes[8] << 7) | bytes[9]) : 0;
  const [sync, kind, rates] = bytes.subarray(start, start + 3);
  if (sync !== 255 || kind < 0xe0) return USUAL_HZ;
  if (!(kind & 6)) return AAC_HZ[(rates >> 2) & 15] ?? USUAL_HZ;
  return (MPEG_HZ[(rates >> 2) & 3] ?? USUAL_HZ) / [4, 1, 2, 1][(kind >> 3) & 3]; // MPEG-2.5, none, 2 and 1
}

const startsWith = (bytes, text) => [...text].every((char, i) => bytes[i] === char.charCodeAt(0));
