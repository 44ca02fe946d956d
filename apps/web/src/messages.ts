/** What page, worker and worklet say to each other. */

import type { ModelInfo } from "./modelfile.ts";
import type { Vector } from "./selftest.ts";

/** Page to worker. */
export type ToEngine =
  | { kind: "load"; wasm: ArrayBuffer; model: ArrayBuffer; vector: Vector }
  | { kind: "live"; port: MessagePort; faders: Float32Array }
  | { kind: "faders"; faders: Float32Array }
  | { kind: "stems"; id: number; audio: Float32Array }
  | { kind: "stop" }
  | { kind: "ping" };

/** Worker to page. */
export type FromEngine =
  | { kind: "ready"; info: ModelInfo; selfTestDb: number }
  | { kind: "failed"; message: string }
  | { kind: "part"; id: number; stems: Stems; progress: number; done: boolean }
  | { kind: "timing"; frameMilliseconds: number[] }
  | { kind: "pong" };

/** A piece of a recording in three parts that sum to it. */
export interface Stems {
  voice: Float32Array;
  room: Float32Array;
  noise: Float32Array;
}

/** Worklet to worker and back: one frame of samples, numbered. */
export interface Frame {
  number: number;
  samples: Float32Array;
}

/** Page to worklet. */
export type ToProcessor =
  | { kind: "live"; port: MessagePort }
  | { kind: "open" }
  | { kind: "part"; stems: Stems }
  | { kind: "faders"; faders: Float32Array }
  | { kind: "play"; playing: boolean }
  | { kind: "seek"; sample: number }
  | { kind: "listen"; on: boolean }
  | { kind: "end" };

/** Worklet to page: what was heard, before and after in step, at the model's rate. */
export interface Heard {
  kind: "heard";
  before: Float32Array;
  after: Float32Array;
  position: number; // samples of the recording played so far; of the microphone, samples so far
  missed: number; // frames that the model did not return in time, so far
  tooBusy: boolean; // for most of them
  ended: boolean;
}

/** Constants of the worklet, from the model file. */
export interface ProcessorOptions {
  sampleRateHz: number;
  hopSamples: number;
  latencySamples: number;
  waitedFrames: number;
}
