/** Signals for the tests, from seeded generators. */

/** Noise within ±1, always the same for a seed. */
export function noise(samples: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length: samples }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  });
}

export function tone(samples: number, hertz: number, rateHz: number): Float32Array {
  return Float32Array.from({ length: samples }, (_, index) => Math.sin((2 * Math.PI * hertz * index) / rateHz));
}

/** Cuts a signal into blocks of the lengths given, over and over. */
export function* blocks(signal: Float32Array, lengths: number[]): Generator<Float32Array> {
  for (let at = 0, turn = 0; at < signal.length; turn++) {
    const length = lengths[turn % lengths.length]!;
    yield signal.subarray(at, (at += length));
  }
}
