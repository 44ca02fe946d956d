/** Percentiles of the last few values. */
const KEPT = 1250; // ten seconds of frames

export class Recent {
  readonly #values = new Float32Array(KEPT); // the oldest is written over
  #added = 0;

  add(values: number[]): void {
    for (const value of values) this.#values[this.#added++ % KEPT] = value;
  }

  clear(): void {
    this.#added = 0;
  }

  get empty(): boolean {
    return !this.#added;
  }

  /** The values that these parts of the values (0 to 1) do not exceed. */
  percentiles(...parts: number[]): number[] {
    const sorted = this.#values.slice(0, Math.min(this.#added, KEPT)).sort();
    return parts.map((part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN);
  }
}

/** Level of a block in dB below full scale; silence is −120. */
export function levelDb(samples: Float32Array): number {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return 10 * Math.log10(Math.max(power / Math.max(1, samples.length), 1e-12));
}
