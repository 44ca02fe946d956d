/** A file a person dropped, as mono samples at the model's rate; or an Error in words for them. */

import { resample } from "./resampler.ts";

const MOST_BYTES = 300e6;
const MOST_MINUTES = 15; // input, three parts and their copy for playing: about 400 MB
const ELSEWHERE = "The enhance command takes files of any length.";
const USUAL_RATE_HZ = 48_000;

export async function readSound(file: Blob, name: string, sampleRateHz: number): Promise<Float32Array> {
  if (file.size > MOST_BYTES) {
    throw new Error(`${name} is too large for a web page: ${megabytes(file.size)}, at most ${megabytes(MOST_BYTES)}. ${ELSEWHERE}`);
  }
  if (!file.size) throw new Error(`${name} is empty.`);
  const bytes = await file.arrayBuffer().catch(() => undefined);
  if (!bytes) throw new Error(`${name} could not be read; was it moved or deleted?`);
  const rateHz = nativeRateHz(new DataView(bytes)) ?? USUAL_RATE_HZ;
  const sound = await decode(bytes, rateHz, name);
  if (sound.duration > 60 * MOST_MINUTES) {
    throw new Error(`${name} lasts ${Math.ceil(sound.duration / 60)} minutes; a web page holds ${MOST_MINUTES}. ${ELSEWHERE}`);
  }
  return resample(mono(sound), sound.sampleRate, sampleRateHz);
}

/** The browser resamples to the context's rate, so that is the file's own where the header tells. */
async function decode(bytes: ArrayBuffer, rateHz: number, name: string): Promise<AudioBuffer> {
  try {
    const sound = await context(rateHz).decodeAudioData(bytes);
    if (sound.length) return sound;
  } catch {
    throw new Error(`${name} holds no sound that this browser can decode. WAV, FLAC, MP3, M4A and Ogg usually work.`);
  }
  throw new Error(`${name} holds no samples.`);
}

function context(rateHz: number): OfflineAudioContext {
  try {
    return new OfflineAudioContext(1, 1, rateHz);
  } catch {
    return new OfflineAudioContext(1, 1, USUAL_RATE_HZ); // a rate that this browser refuses
  }
}

/** The rate in the header of a WAV or FLAC file. */
export function nativeRateHz(file: DataView): number | undefined {
  if (file.byteLength < 32) return undefined;
  const word = String.fromCharCode(...new Uint8Array(file.buffer, file.byteOffset, 4));
  if (word === "fLaC") return (file.getUint32(18) >>> 12) || undefined;
  if (word !== "RIFF") return undefined;
  for (let at = 12; at + 16 <= file.byteLength; at += 8 + file.getUint32(at + 4, true)) {
    if (file.getUint32(at) === 0x666d7420) return file.getUint32(at + 12, true) || undefined; // "fmt "
  }
  return undefined;
}

function mono(sound: AudioBuffer): Float32Array {
  const mixed = new Float32Array(sound.length);
  for (let channel = 0; channel < sound.numberOfChannels; channel++) {
    sound.getChannelData(channel).forEach((sample, i) => (mixed[i]! += sample / sound.numberOfChannels));
  }
  return mixed;
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6).toLocaleString("en")} MB`;
}
