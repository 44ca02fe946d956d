/** A recording in three parts, mixed as it is played: the faders act at once, and need no model. */

import type { Stems } from "./messages.ts";

export class StemPlayer {
  position = 0; // samples
  playing = false;
  #parts: Stems[] = [];
  #partSamples = 0; // all parts but the last have the same length
  #length = 0;
  #gains: Float32Array = new Float32Array([1, 1, 1]);
  #target: Float32Array = this.#gains;

  set faders(gains: Float32Array) {
    this.#target = gains;
  }

  append(stems: Stems): void {
    this.#partSamples ||= stems.voice.length;
    this.#parts.push(stems);
    this.#length += stems.voice.length;
  }

  get atEnd(): boolean {
    return this.position >= this.#length;
  }

  /** The next samples, before (all three alike) and after; gains glide over the block. */
  next(count: number): { before: Float32Array; after: Float32Array } {
    const before = new Float32Array(count);
    const after = new Float32Array(count);
    const from = this.#gains;
    const to = this.#target;
    const available = this.playing ? Math.min(count, this.#length - this.position) : 0;
    for (let index = 0; index < available; index++) {
      const [voice, room, noise] = this.#sample(this.position + index);
      const part = (index + 1) / count;
      const gain = (k: number): number => from[k]! + (to[k]! - from[k]!) * part;
      before[index] = voice + room + noise;
      after[index] = gain(0) * voice + gain(1) * room + gain(2) * noise;
    }
    this.position += Math.max(0, available);
    this.#gains = to;
    return { before, after };
  }

  #sample(at: number): [number, number, number] {
    const number = Math.floor(at / this.#partSamples);
    const stems = this.#parts[number]!;
    const index = at - number * this.#partSamples;
    return [stems.voice[index]!, stems.room[index]!, stems.noise[index]!];
  }
}
