/**
 * Do two threads help? Milliseconds a frame with one thread, with two and, for files, with two workers; in node, or
 * with --chromium in a page that is isolated from other origins.
 * npm ci && node test/threads.mjs [--chromium] [FRAMES]
 */

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { loadavg } from "node:os";
import { Worker } from "node:worker_threads";
import { chromium } from "playwright-core";
import { measure } from "./threads.measure.mjs";

const RUNTIME = new URL("../node_modules/onnxruntime-web/dist/", import.meta.url);
const FILES = {
  "/runtime.mjs": new URL("ort.wasm.bundle.min.mjs", RUNTIME),
  "/runtime.wasm": new URL("ort-wasm-simd-threaded.wasm", RUNTIME),
  "/model.onnx": new URL("../../../truenet/models/truenet.onnx", import.meta.url),
  "/worker.mjs": new URL("threads.worker.mjs", import.meta.url),
  "/measure.mjs": new URL("threads.measure.mjs", import.meta.url),
};
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

const frames = Number(process.argv.find((argument) => /^\d+$/.test(argument)) ?? 1000);
const lines = process.argv.includes("--chromium") ? await inChromium() : await inNode();
console.log([...lines, `load ${loadavg()[0].toFixed(1)}`].join("\n"));
process.exit(0);

async function inNode() {
  const [wasm, model] = [readFileSync(FILES["/runtime.wasm"]), readFileSync(FILES["/model.onnx"])];
  const asks = [];
  for (const threads of [1, 2, 1]) {
    const worker = new Worker(FILES["/worker.mjs"]);
    await once(worker, "message");
    const ask = async (message) => (worker.postMessage(message), (await once(worker, "message"))[0]);
    const answer = await ask({ threads, runtime: new URL("ort.node.min.mjs", RUNTIME).href, wasm, model });
    if (answer !== "open") throw new Error(answer);
    asks.push(ask);
  }
  return measure(asks, frames);
}

async function inChromium() {
  const server = createServer(({ url }, answer) => {
    if (url === "/") return answer.writeHead(200, { "Content-Type": "text/html", ...ISOLATED }).end("<!doctype html>");
    if (!FILES[url]) return answer.writeHead(404).end();
    const type = url.endsWith(".mjs") ? "text/javascript" : "application/octet-stream";
    answer.writeHead(200, { "Content-Type": type, ...ISOLATED }).end(readFileSync(FILES[url]));
  }).listen(0, "localhost");
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage();
  await page.goto(`http://localhost:${server.address().port}/`);
  return page.evaluate(async (wanted) => {
    const { measure } = await import("/measure.mjs");
    const fetched = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
    const [wasm, model] = [await fetched("/runtime.wasm"), await fetched("/model.onnx")];
    const asks = [];
    for (const threads of [1, 2, 1]) {
      const worker = new Worker("/worker.mjs", { type: "module" });
      const answered = () => new Promise((done) => (worker.onmessage = ({ data }) => done(data)));
      await answered();
      const ask = (message) => (worker.postMessage(message), answered());
      const answer = await ask({ threads, runtime: "/runtime.mjs", wasm, model });
      if (answer !== "open") throw new Error(answer);
      asks.push(ask);
    }
    return measure(asks, wanted);
  }, frames);
}
