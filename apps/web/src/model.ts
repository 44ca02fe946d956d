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
  faders: Float32Array; // (rows × 3) linear gains of voice, room and noise
  readonly #info: ModelInfo;
  readonly #session: InferenceSession;
  #state: Tensor;

  constructor(info: ModelInfo, session: InferenceSession, faders: Float32Array) {
    this.faders = faders;
    this.#info = info;
    this.#session = session;
    const rows = faders.length / 3;
    this.#state = new Tensor("float32", new Float32Array(rows * info.stateSize), [rows, info.stateSize]);
  }

  /** Takes whole frames, returns as many for every row, `latencySamples` late. */
  async process(audio: Float32Array): Promise<Float32Array[]> {
    if (audio.length % this.#info.hopSamples) throw new Error("a part of a frame");
    const rows = this.faders.length / 3;
    const repeated = new Float32Array(rows * audio.length);
    const safe = audio.map((sample) => (Math.abs(sample) <= LOUDEST ? sample : 0)); // NaN compares false
    for (let row = 0; row < rows; row++) repeated.set(safe, row * audio.length);
    const { enhanced, next_state: state } = await this.#session.run({
      audio: new Tensor("float32", repeated, [rows, audio.length]),
      state: this.#state,
      faders: new Tensor("float32", this.faders, [rows, 3]),
    });
    this.#state = state as Tensor;
    const samples = (enhanced as Tensor).data as Float32Array;
    return Array.from({ length: rows }, (_, row) => samples.slice(row * audio.length, (row + 1) * audio.length));
  }
}
