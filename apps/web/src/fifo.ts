/** A queue of samples: put blocks of any length in, take any number out. */
export class SampleFifo {
  #blocks: Float32Array[] = [];
  #taken = 0; // samples of the first block that are gone
  length = 0;

  put(block: Float32Array): void {
    if (!block.length) return;
    this.#blocks.push(block);
    this.length += block.length;
  }

  /** The oldest `count` samples; silence where fewer are held. */
  take(count: number): Float32Array {
    const result = new Float32Array(count);
    let filled = 0;
    while (filled < count && this.#blocks.length) {
      const block = this.#blocks[0]!;
      const part = block.subarray(this.#taken, this.#taken + count - filled);
      result.set(part, filled);
      filled += part.length;
      this.#taken += part.length;
      if (this.#taken === block.length) {
        this.#blocks.shift();
        this.#taken = 0;
      }
    }
    this.length -= filled;
    return result;
  }
}

/** Blocks as one array. */
export function concatenate(blocks: Float32Array[]): Float32Array {
  const result = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    result.set(block, at);
    at += block.length;
  }
  return result;
}
