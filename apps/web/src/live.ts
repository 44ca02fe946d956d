/**
 * The microphone's side of the model: frames out, enhanced frames back, one frame of output for
 * each of input, a fixed delay later.
 *
 * A frame that the model does not return in time is replaced by the input, equally late, without a
 * click. The queue to the model is bounded: when it is full nothing more is sent until it has
 * emptied, so a slow device hears the input and the delay never grows.
 */

import { SampleFifo } from "./fifo.ts";
import type { Frame } from "./messages.ts";

const LEAST_WAITED_FRAMES = 3; // 24 ms for the model and the way to it and back
export const MOST_QUEUED_FRAMES = 16;
const REMEMBERED_FRAMES = 125; // a second

/**
 * How many frames an answer may take. A device that asks for its sound in large pieces makes several frames at once,
 * and no answer can come in between: it waits for a whole piece.
 */
export function waitedFrames(pieceSeconds: number, frameSeconds: number): number {
  return Math.max(LEAST_WAITED_FRAMES, Math.ceil(pieceSeconds / frameSeconds - 1e-6));
}

export interface Answer {
  before: Float32Array;
  after: Float32Array;
}

export class LiveFrames {
  missed = 0;
  overloaded = false;
  readonly #hop: number;
  readonly #latencyFrames: number;
  readonly #waited: number;
  readonly #send: (frame: Frame) => void;
  readonly #waiting = new SampleFifo();
  readonly #dry = new SampleFifo(); // the input, as late as the answers
  readonly #returned = new Map<number, Float32Array>();
  #made = 0; // frames of input so far
  #sent = 0;
  #answered = 0;
  #whole = 0; // the first frame since the last gap that the model has heard all of
  #step = 0; // what the last sample jumped by, faded out over the next frame
  #wasWet = false;
  #missing = 0; // part of the last frames that were missed
  #last: [dry: number, after: number] = [0, 0];

  constructor(hopSamples: number, latencySamples: number, waited: number, send: (frame: Frame) => void) {
    this.#hop = hopSamples;
    this.#waited = waited;
    this.#latencyFrames = Math.ceil(latencySamples / hopSamples);
    this.#send = send;
    this.#dry.put(new Float32Array(latencySamples + waited * hopSamples));
  }

  /** Whether it is mostly the input that is heard. */
  get tooBusy(): boolean {
    return this.overloaded || this.#missing > 0.5;
  }

  /** An enhanced frame came back. */
  receive(frame: Frame): void {
    this.#answered++;
    this.#returned.set(frame.number, frame.samples);
  }

  /** Takes samples at the model's rate, returns what is to be heard for every whole frame. */
  process(samples: Float32Array): Answer[] {
    this.#waiting.put(samples);
    const answers: Answer[] = [];
    while (this.#waiting.length >= this.#hop) {
      const frame = this.#waiting.take(this.#hop);
      this.#dry.put(frame);
      this.#offer(frame);
      answers.push(this.#answer(this.#made++ - this.#waited));
    }
    return answers;
  }

  #offer(samples: Float32Array): void {
    const queued = this.#sent - this.#answered;
    if (queued >= MOST_QUEUED_FRAMES) this.overloaded = true;
    if (this.overloaded && queued === 0) {
      this.overloaded = false;
      this.#whole = this.#made + this.#latencyFrames;
    }
    if (this.overloaded) return;
    this.#sent++;
    this.#send({ number: this.#made, samples });
  }

  #answer(number: number): Answer {
    const before = this.#dry.take(this.#hop);
    const wet = number >= this.#whole ? this.#returned.get(number) : undefined;
    for (const old of this.#returned.keys()) if (old <= number) this.#returned.delete(old);
    if (number >= 0 && !wet) this.missed++;
    this.#missing += (Number(!wet) - this.#missing) / REMEMBERED_FRAMES;
    const after = (wet ?? before).slice();
    this.#join(before, after, wet !== undefined);
    return { before, after };
  }

  /** Where model and input take turns, the jump is faded out. */
  #join(before: Float32Array, after: Float32Array, wet: boolean): void {
    if (wet !== this.#wasWet) {
      const [dry, heard] = this.#last;
      // how far the other signal stood away when it was last heard; from the input, that is known
      this.#step = wet ? before[0]! - after[0]! : heard - dry;
      this.#wasWet = wet;
      after.forEach((sample, i) => (after[i] = sample + this.#step * (1 - (i + 1) / after.length)));
    }
    this.#last = [before[before.length - 1]!, after[after.length - 1]!];
  }
}
