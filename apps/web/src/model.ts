/** The model file in onnxruntime: waveform in, waveform out, memory explicit. */

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import { readModelInfo, type ModelInfo } from "./modelfile.ts";

const LOUDEST = 1e6; // as truenet.samples: more than this is no sound

export class Model {
  readonly info: ModelInfo;
  readonly #session: InferenceSession;

  private constructor(info: ModelInfo, session: InferenceSession) {
    this.info = info;
    this.#session = session;
  }

  /** Opens a model file; throws an Error in words for people. */
  static async open(wasm: ArrayBuffer | Uint8Array, file: Uint8Array): Promise<Model> {
    const info = readModelInfo(file);
    env.wasm.wasmBinary = wasm;
    env.wasm.numThreads = 1; // the network is too small to gain from more, which only spin
    env.logLevel = "error";
    try {
      const session = await InferenceSession.create(file, { executionProviders: ["wasm"] });
      return new Model(info, session);
    } catch (error) {
      throw new Error(`The model file cannot be run here: it is damaged, or too new. (${error})`);
    }
  }

  stream(faders: Float32Array): ModelStream {
    return new ModelStream(this.info, this.#session, faders);
  }
}

/** A stream through the model: one version of the audio for every three faders. */
export class ModelStream {
  readonly #info: ModelInfo;
  readonly #session: InferenceSession;
  readonly #rows: number;
  readonly #faders: Tensor;
  #audio: Tensor;
  #state: Tensor;

  /** `faders` are (rows × 3) linear gains of voice, room and noise. */
  constructor(info: ModelInfo, session: InferenceSession, faders: Float32Array) {
    this.#info = info;
    this.#session = session;
    this.#rows = faders.length / 3;
    this.#faders = zeros(this.#rows, 3);
    this.#audio = zeros(this.#rows, info.hopSamples);
    this.#state = zeros(this.#rows, info.stateSize);
    this.faders = faders;
  }

  set faders(gains: Float32Array) {
    samples(this.#faders).set(gains);
  }

  /** Takes whole frames, returns as many for every row, `latencySamples` late. */
  async process(audio: Float32Array): Promise<Float32Array[]> {
    if (audio.length % this.#info.hopSamples) throw new Error("a part of a frame");
    const { length } = audio;
    if (this.#audio.dims[1] !== length) this.#audio = zeros(this.#rows, length);
    const fed = samples(this.#audio); // the runtime copies it
    for (let index = 0; index < length; index++) {
      const sample = audio[index]!;
      fed[index] = Math.abs(sample) <= LOUDEST ? sample : 0; // NaN compares false
    }
    for (let row = 1; row < this.#rows; row++) fed.copyWithin(row * length, 0, length);
    const { enhanced, next_state: state } = await this.#session.run({
      audio: this.#audio,
      state: this.#state,
      faders: this.#faders,
    });
    this.#state = state as Tensor;
    const made = samples(enhanced as Tensor);
    return Array.from({ length: this.#rows }, (_, row) => made.subarray(row * length, (row + 1) * length));
  }
}

function zeros(rows: number, columns: number): Tensor {
  return new Tensor("float32", new Float32Array(rows * columns), [rows, columns]);
}

function samples(tensor: Tensor): Float32Array {
  return tensor.data as Float32Array;
}
