/** One copy of the page's runtime with a number of threads of its own, in node or in a browser; obeys threads.measure.mjs. */

const isNode = globalThis.process?.versions?.node !== undefined;
const port = isNode ? (await import("node:worker_threads")).parentPort : self;
let session, Tensor, size;
const states = new Map(); // by rows and frames

async function open({ threads, runtime, wasm, model }) {
  const { env, InferenceSession, ...rest } = await import(runtime);
  Object.assign(env.wasm, { wasmBinary: wasm, numThreads: threads });
  env.logLevel = "error";
  session = await InferenceSession.create(model, { executionProviders: ["wasm"] });
  if (env.wasm.numThreads !== threads) throw new Error(`no ${threads} threads here`);
  Tensor = rest.Tensor;
  size = session.inputMetadata.find(({ name }) => name === "state").shape[1];
}

async function run({ audio, faders }) {
  const rows = faders.length / 3;
  const key = `${rows} ${audio.length}`;
  const { enhanced, next_state } = await session.run({
    audio: new Tensor("float32", audio, [rows, audio.length / rows]),
    state: states.get(key) ?? new Tensor("float32", new Float32Array(rows * size), [rows, size]),
    faders: new Tensor("float32", faders, [rows, 3]),
  });
  states.set(key, next_state);
  return enhanced.data;
}

port[isNode ? "on" : "addEventListener"]("message", async (event) => {
  const message = isNode ? event : event.data;
  if (message.wasm) await open(message).then(() => port.postMessage("open"), (error) => port.postMessage(String(error).slice(0, 300)));
  else port.postMessage(await run(message));
});
port.postMessage("here");
