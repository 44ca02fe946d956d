/** One copy of the page's runtime with a number of threads of its own, in node or in a browser; obeys threads.measure.mjs. */

const HOP = 128;
const isNode = globalThis.process?.versions?.node !== undefined;
const port = isNode ? (await import("node:worker_threads")).parentPort : self;
let session, Tensor, state, size;

async function open({ threads, runtime, wasm, model }) {
  const { env, InferenceSession, ...rest } = await import(runtime);
  Object.assign(env.wasm, { wasmBinary: wasm, numThreads: threads });
  env.logLevel = "error";
  session = await InferenceSession.create(model, { executionProviders: ["wasm"] });
  if (env.wasm.numThreads !== threads) throw new Error(`no ${threads} threads here`);
  Tensor = rest.Tensor;
  size = session.inputMetadata.find(({ name }) => name === "state").shape[1];
}

async function run({ audio, rows }) {
  if (state?.dims[0] !== rows) state = new Tensor("float32", new Float32Array(rows * size), [rows, size]);
  const faders = Float32Array.from({ length: 3 * rows }, (_, index) => Number(index % 4 === 0)); // voice, then room
  const frames = audio.length / rows;
  const began = performance.now();
  const made = await session.run({
    audio: new Tensor("float32", audio, [rows, frames]),
    state,
    faders: new Tensor("float32", faders, [rows, 3]),
  });
  const milliseconds = performance.now() - began;
  state = made.next_state;
  return { milliseconds: (milliseconds * HOP) / audio.length, enhanced: made.enhanced.data };
}

port[isNode ? "on" : "addEventListener"]("message", async (event) => {
  const message = isNode ? event : event.data;
  if (message.wasm) await open(message).then(() => port.postMessage("open"), (error) => port.postMessage(String(error).slice(0, 300)));
  else port.postMessage(await run(message));
});
port.postMessage("here");
