/** The page's end of the worker: loading with progress, and noticing when the worker is gone. */

import EngineWorker from "./engine.worker.ts?worker";
import { download, unpackedRuntime } from "./download.ts";
import type { FromEngine, Stems, ToEngine } from "./messages.ts";
import type { ModelInfo } from "./modelfile.ts";
import type { Vector } from "./selftest.ts";

const PING_MILLISECONDS = 1500;
const MOST_UNANSWERED = 6; // a busy device may be late; this is gone

export interface EngineEvents {
  progress(part: number): void;
  ready(info: ModelInfo, selfTestDb: number): void;
  failed(message: string): void;
  part(stems: Stems, progress: number, done: boolean): void;
  timing(frameMilliseconds: number[]): void;
}

export class Engine {
  readonly #events: EngineEvents;
  #worker: Worker | undefined;
  #watch: ReturnType<typeof setInterval> | undefined;
  #unanswered = 0;
  #job = 0;

  constructor(events: EngineEvents) {
    this.#events = events;
  }

  /** Fetches runtime and model and starts the worker; also after it failed. */
  async start(): Promise<void> {
    this.#end();
    try {
      const { wasm, model, vector } = await this.#fetchAll();
      const worker = new EngineWorker();
      this.#worker = worker;
      worker.onmessage = (event: MessageEvent<FromEngine>) => this.#receive(event.data);
      worker.onmessageerror = () => this.#fail("The model's worker sent something unreadable.");
      worker.onerror = (event) => this.#fail(`The model's worker stopped: ${event.message || "no reason given"}`);
      worker.postMessage({ kind: "load", wasm, model, vector } satisfies ToEngine, [wasm, model]);
    } catch (error) {
      this.#fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** Connects the worker to the audio thread. */
  live(port: MessagePort, faders: Float32Array): void {
    this.#worker?.postMessage({ kind: "live", port, faders } satisfies ToEngine, [port]);
  }

  stems(audio: Float32Array): void {
    this.#tell({ kind: "stems", id: ++this.#job, audio });
  }

  setFaders(faders: Float32Array): void {
    this.#tell({ kind: "faders", faders });
  }

  stop(): void {
    this.#job++;
    this.#tell({ kind: "stop" });
  }

  #tell(message: ToEngine): void {
    this.#worker?.postMessage(message);
  }

  async #fetchAll(): Promise<{ wasm: ArrayBuffer; model: ArrayBuffer; vector: Vector }> {
    const seen = { wasm: 0, model: 0 };
    const note = (key: keyof typeof seen) => (bytes: number) => {
      seen[key] = bytes;
      this.#events.progress(Math.min(1, (seen.wasm + seen.model) / (__WASM_BYTES__ + __MODEL_BYTES__)));
    };
    const [packed, model, vector] = await Promise.all([
      download("onnxruntime.wasm.gz", "The runtime", note("wasm")),
      download("truenet.onnx", "The model file", note("model")),
      download("selftest.json", "The self-test", () => undefined),
    ]);
    const wasm = await unpackedRuntime(packed);
    return { wasm, model: model.buffer, vector: JSON.parse(new TextDecoder().decode(vector)) as Vector };
  }

  #receive(message: FromEngine): void {
    this.#unanswered = 0;
    if (message.kind === "ready") {
      this.#watch = setInterval(() => this.#ping(), PING_MILLISECONDS);
      this.#events.ready(message.info, message.selfTestDb);
    }
    if (message.kind === "failed") this.#fail(message.message);
    if (message.kind === "timing") this.#events.timing(message.frameMilliseconds);
    if (message.kind === "part" && message.id === this.#job) {
      this.#events.part(message.stems, message.progress, message.done);
    }
  }

  #ping(): void {
    if (this.#unanswered++ >= MOST_UNANSWERED) this.#fail("The model's worker no longer answers.");
    else this.#tell({ kind: "ping" });
  }

  #fail(message: string): void {
    this.#end();
    this.#events.failed(message);
  }

  #end(): void {
    clearInterval(this.#watch);
    this.#unanswered = 0;
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}
