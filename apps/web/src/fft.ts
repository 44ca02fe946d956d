/** Powers of a windowed signal's spectrum, for the picture; tables and buffers are made once, for it is asked for often. */
export class PowerSpectrum {
  /** What `of` returns, written over each time: bins from 0 Hz to below the highest. */
  readonly powers: Float32Array;
  readonly #window: Float32Array;
  readonly #places: Uint16Array; // where a sample goes: its index with the bits reversed
  readonly #cosines: Float32Array;
  readonly #sines: Float32Array;
  readonly #real: Float32Array;
  readonly #imaginary: Float32Array;

  /** `size` in samples is a power of two. */
  constructor(size: number) {
    const angle = (index: number): number => (2 * Math.PI * index) / size;
    this.powers = new Float32Array(size / 2);
    this.#window = Float32Array.from({ length: size }, (_, index) => (1 - Math.cos(angle(index))) / size);
    this.#places = Uint16Array.from({ length: size }, (_, index) => reversed(index, Math.log2(size)));
    this.#cosines = Float32Array.from({ length: size / 2 }, (_, index) => Math.cos(angle(index)));
    this.#sines = Float32Array.from({ length: size / 2 }, (_, index) => -Math.sin(angle(index)));
    this.#real = new Float32Array(size);
    this.#imaginary = new Float32Array(size);
  }

  of(signal: Float32Array): Float32Array {
    const [real, imaginary, powers] = [this.#real, this.#imaginary, this.powers];
    imaginary.fill(0);
    for (let index = 0; index < signal.length; index++) real[this.#places[index]!] = signal[index]! * this.#window[index]!;
    for (let half = 1; half < real.length; half *= 2) this.#butterflies(half);
    for (let bin = 0; bin < powers.length; bin++) powers[bin] = real[bin]! ** 2 + imaginary[bin]! ** 2;
    return powers;
  }

  #butterflies(half: number): void {
    const [real, imaginary] = [this.#real, this.#imaginary];
    const stride = real.length / (2 * half);
    for (let offset = 0; offset < half; offset++) {
      const c = this.#cosines[offset * stride]!;
      const s = this.#sines[offset * stride]!;
      for (let low = offset; low < real.length; low += 2 * half) {
        const high = low + half;
        const re = c * real[high]! - s * imaginary[high]!;
        const im = c * imaginary[high]! + s * real[high]!;
        real[high] = real[low]! - re;
        imaginary[high] = imaginary[low]! - im;
        real[low]! += re;
        imaginary[low]! += im;
      }
    }
  }
}

function reversed(index: number, bits: number): number {
  let result = 0;
  for (let bit = 0; bit < bits; bit++) result = (result << 1) | ((index >> bit) & 1);
  return result;
}
