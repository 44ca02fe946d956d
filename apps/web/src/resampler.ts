/**
 * Streaming resampler between any two rates with a fixed delay: a windowed sinc, one row of taps
 * for each of the positions that an output sample can have between two input samples.
 *
 * Cut how you like, the result is the same; a block-by-block resampler would click at every seam.
 */

const ZERO_CROSSINGS = 48; // each side, at the lower rate: 3 ms at 16 kHz
const CUTOFF = 0.94; // of the lower Nyquist frequency: passes 7.1 kHz of 8, and is down 80 dB at 8
const KAISER_BETA = 8;

export class Resampler {
  /** Output samples by which the output lags the input. */
  readonly delaySamples: number;
  readonly #up: number;
  readonly #down: number;
  readonly #reach: number; // input samples each side of an output sample
  readonly #taps: Float32Array[];
  #held: Float32Array;
  #phase = 0; // position of the next output sample behind held[reach − 1], in 1/up input samples

  /** `whole` is for whole signals: output and input begin together, and the end must be padded. */
  constructor(fromHz: number, toHz: number, whole = false) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    this.#up = toHz / divisor;
    this.#down = fromHz / divisor;
    this.#reach = fromHz === toHz ? 0 : Math.ceil((ZERO_CROSSINGS * fromHz) / Math.min(fromHz, toHz));
    this.delaySamples = whole ? 0 : (this.#reach * toHz) / fromHz;
    this.#taps = this.#reach ? polyphase(this.#up, this.#reach, Math.min(1, toHz / fromHz)) : [];
    // a stream has a filter's length of silence before it, so that samples come out at once
    this.#held = new Float32Array(Math.max(0, (whole ? 1 : 2) * this.#reach - 1));
  }

  /** Takes the next input, returns all output that is then known. */
  process(input: Float32Array): Float32Array {
    if (!this.#reach) return input.slice();
    const joined = new Float32Array(this.#held.length + input.length);
    joined.set(this.#held);
    joined.set(input, this.#held.length);
    const width = 2 * this.#reach;
    const steps = (joined.length - width + 1) * this.#up - this.#phase;
    const output = new Float32Array(Math.max(0, Math.ceil(steps / this.#down)));
    for (let index = 0; index < output.length; index++) {
      const place = this.#phase + index * this.#down;
      output[index] = dot(this.#taps[place % this.#up]!, joined, Math.floor(place / this.#up));
    }
    const next = this.#phase + output.length * this.#down;
    const used = Math.min(Math.floor(next / this.#up), joined.length);
    this.#held = joined.slice(used);
    this.#phase = next - used * this.#up;
    return output;
  }
}

/** A whole signal at another rate, in step with the input. */
export function resample(signal: Float32Array, fromHz: number, toHz: number): Float32Array {
  if (fromHz === toHz) return signal;
  const padding = Math.ceil(ZERO_CROSSINGS * Math.max(1, fromHz / toHz)) + 1;
  const padded = new Float32Array(signal.length + padding);
  padded.set(signal);
  const length = Math.ceil((signal.length * toHz) / fromHz);
  return new Resampler(fromHz, toHz, true).process(padded).slice(0, length);
}

function dot(taps: Float32Array, signal: Float32Array, start: number): number {
  let [even, odd] = [0, 0]; // two sums at a time; the number of taps is even
  for (let index = 0; index < taps.length; index += 2) {
    even += taps[index]! * signal[start + index]!;
    odd += taps[index + 1]! * signal[start + index + 1]!;
  }
  return even + odd;
}

function polyphase(phases: number, reach: number, ratio: number): Float32Array[] {
  const cutoff = ratio * CUTOFF;
  return Array.from({ length: phases }, (_, phase) => {
    const row = Float32Array.from({ length: 2 * reach }, (_, index) => {
      const distance = index - reach + 1 - phase / phases;
      return cutoff * sinc(cutoff * distance) * kaiser(distance / reach);
    });
    const sum = row.reduce((total, tap) => total + tap, 0);
    return row.map((tap) => tap / sum); // the same gain at 0 Hz in every phase: no whistle
  });
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x: number): number {
  return Math.abs(x) > 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

/** Modified Bessel function of the first kind, order 0. */
function bessel(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
