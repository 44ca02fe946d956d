/** Percentiles of the last few values. */
const KEPT = 1250; // ten seconds of frames

export class Recent {
  #values: number[] = [];

  add(values: number[]): void {
    this.#values = [...this.#values, ...values].slice(-KEPT);
  }

  clear(): void {
    this.#values = [];
  }

  get empty(): boolean {
    return !this.#values.length;
  }

  /** The value that a part of the values (0 to 1) does not exceed. */
  percentile(part: number): number {
    const sorted = this.#values.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? NaN;
  }
}

/** Level of a block in dB below full scale; silence is −120. */
export function levelDb(samples: Float32Array): number {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return 10 * Math.log10(Math.max(power / Math.max(1, samples.length), 1e-12));
}
