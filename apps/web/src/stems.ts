/**
 * A whole recording through the model, in pieces: voice, room and noise, in step with it and of its
 * length. The masks sum to one, so the noise is what voice and room leave of the input.
 */

import { SampleFifo } from "./fifo.ts";
import type { Stems } from "./messages.ts";
import type { Model } from "./model.ts";

const FRAMES_A_CALL = 16;
const CALLS_A_PART = 2;
const VOICE_AND_ROOM = new Float32Array([1, 0, 0, 0, 1, 0]);

/** Pieces of equal length (but for the last), as they get ready. */
export async function* stemsOf(model: Model, audio: Float32Array): AsyncGenerator<Stems> {
  const { hopSamples, latencySamples } = model.info;
  const call = FRAMES_A_CALL * hopSamples;
  const stream = model.stream(VOICE_AND_ROOM);
  const ready = [new SampleFifo(), new SampleFifo()];
  let made = 0;
  for (let start = 0; made < audio.length; start += call) {
    const piece = new Float32Array(call);
    piece.set(audio.subarray(start, start + call));
    const dropped = Math.min(call, Math.max(0, latencySamples - start));
    (await stream.process(piece)).forEach((row, index) => ready[index]!.put(row.subarray(dropped)));
    const wanted = Math.min(CALLS_A_PART * call, audio.length - made);
    if (ready[0]!.length < wanted) continue;
    yield part(audio.subarray(made, made + wanted), ready[0]!.take(wanted), ready[1]!.take(wanted));
    made += wanted;
  }
}

function part(input: Float32Array, voice: Float32Array, room: Float32Array): Stems {
  return { voice, room, noise: input.map((sample, i) => sample - voice[i]! - room[i]!) };
}
