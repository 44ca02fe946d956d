/** Does the model do here what it does in Python? A known input, and what Python made of it. */

import type { Model } from "./model.ts";

export const LEAST_DB = 40; // floating point agrees to about 130 dB, an int8 model to 40 or more

export interface Vector {
  weights_sha256: string;
  faders: number[];
  audio: string; // base64 of float32, as is `enhanced`
  enhanced: string;
}

/** Signal to difference in dB; throws an Error in words for people where it is too low. */
export async function selfTest(model: Model, vector: Vector): Promise<number> {
  if (vector.weights_sha256 !== model.info.weightsSha256) {
    throw new Error("The self-test is for other weights than those of the model file.");
  }
  const wanted = floats(vector.enhanced);
  const [made] = await model.stream(Float32Array.from(vector.faders)).process(floats(vector.audio));
  const agreement = agreementDb(wanted, made!);
  if (!(agreement >= LEAST_DB)) {
    throw new Error(
      `The self-test failed: the model does not do here what it does elsewhere (${agreement.toFixed(0)} dB).`,
    );
  }
  return agreement;
}

export function agreementDb(wanted: Float32Array, made: Float32Array): number {
  let power = 0;
  let error = 0;
  wanted.forEach((sample, index) => {
    power += sample ** 2;
    error += (sample - made[index]!) ** 2;
  });
  return 10 * Math.log10(power / (error || 1e-30));
}

export function floats(base64: string): Float32Array {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
