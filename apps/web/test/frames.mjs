/**
 * What a frame takes in the page's runtime, here in node: of the clock, and of the processor. The difference is the
 * waiting for a core that others use. Files take turns, a frame each, with pauses as between frames of a microphone.
 * npm ci && node test/frames.mjs [FILE.onnx ...]
 */

import { readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

const FRAMES = 1000;
const WARM_UP = 100;
const HOP = 128;
const PAUSE_MILLISECONDS = 4;
const MODELS = new URL("../../../truenet/models/", import.meta.url);

env.wasm.wasmBinary = readFileSync(new URL("../node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm", import.meta.url));
env.wasm.numThreads = 1;
env.logLevel = "error";
const given = process.argv.slice(2);
const files = given.length ? given : ["truenet.onnx", "truenet_float32.onnx"].map((name) => new URL(name, MODELS).pathname);

const runners = [];
for (const file of files) {
  const session = await InferenceSession.create(readFileSync(file), { executionProviders: ["wasm"] });
  const size = session.inputMetadata.find(({ name }) => name === "state").shape[1];
  const zeros = new Tensor("float32", new Float32Array(size), [1, size]);
  runners.push({ file, session, state: zeros, clock: [], processor: [] });
}
const faders = new Tensor("float32", Float32Array.of(1, 0, 0), [1, 3]);
for (let number = 0; number < FRAMES + WARM_UP; number++) {
  for (const runner of runners) {
    const noise = Float32Array.from({ length: HOP }, () => 0.2 * (Math.random() - 0.5));
    await sleep(PAUSE_MILLISECONDS);
    const [used, began] = [process.cpuUsage(), performance.now()];
    const { next_state } = await runner.session.run({ audio: new Tensor("float32", noise, [1, HOP]), state: runner.state, faders });
    runner.clock.push(performance.now() - began);
    const { user, system } = process.cpuUsage(used);
    runner.processor.push((user + system) / 1000);
    runner.state = next_state;
  }
}
for (const { file, clock, processor } of runners) {
  console.log(`${file.split("/").pop()}: processor ${percentiles(processor)}; clock ${percentiles(clock)}`);
}
console.log(`load ${loadavg()[0].toFixed(1)}, node ${process.version}`);

function percentiles(milliseconds) {
  const sorted = milliseconds.slice(WARM_UP).sort((a, b) => a - b);
  const at = (part) => sorted[Math.floor(part * sorted.length)].toFixed(2);
  return `median ${at(0.5)} ms, 99 % ${at(0.99)} ms`;
}
