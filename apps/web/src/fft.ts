/** Powers of a real signal's spectrum, for the picture (radix 2, lengths a power of two). */
export function powers(signal: Float32Array, window: Float32Array): Float32Array {
  const size = signal.length;
  const real = new Float32Array(size);
  const imaginary = new Float32Array(size);
  const bits = Math.log2(size);
  for (let index = 0; index < size; index++) real[reversed(index, bits)] = signal[index]! * window[index]!;
  for (let span = 2; span <= size; span *= 2) butterflies(real, imaginary, span);
  return Float32Array.from({ length: size / 2 }, (_, bin) => real[bin]! ** 2 + imaginary[bin]! ** 2);
}

export function hann(size: number): Float32Array {
  return Float32Array.from({ length: size }, (_, index) => (1 - Math.cos((2 * Math.PI * index) / size)) / size);
}

function reversed(index: number, bits: number): number {
  let result = 0;
  for (let bit = 0; bit < bits; bit++) result = (result << 1) | ((index >> bit) & 1);
  return result;
}

function butterflies(real: Float32Array, imaginary: Float32Array, span: number): void {
  const half = span / 2;
  for (let offset = 0; offset < half; offset++) {
    const angle = (-2 * Math.PI * offset) / span;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    for (let low = offset; low < real.length; low += span) {
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
