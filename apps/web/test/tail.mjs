/**
 * The slow frames of a microphone in Chromium: how many, by the clock and by the processor, and how many came too late
 * in the first second and after it. Several builds of the page take turns.
 * npm ci && npm run build && node test/tail.mjs [--seconds 10] [--rounds 3] [FOLDER of a built page ...]
 */

import { loadavg } from "node:os";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { preview } from "vite";

const SETTLED_MILLISECONDS = 4000; // what the page does after "Model active", and somebody who reads first
const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream"];

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "10" }, rounds: { type: "string", default: "3" } },
  allowPositionals: true,
});
const folders = positionals.length ? positionals : ["../truenet_apps/page"];
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
for (let round = 0; round < Number(values.rounds); round++) {
  for (const folder of folders) console.log(`${folder}: ${await measure(folder)}; load ${loadavg()[0].toFixed(1)}`);
}
await browser.close();
process.exit(0);

async function measure(folder) {
  const root = new URL("..", import.meta.url).pathname;
  const server = await preview({ root, build: { outDir: resolve(folder) }, preview: { port: 0, headers: ISOLATED }, logLevel: "error" });
  const context = await browser.newContext({ permissions: ["microphone"], serviceWorkers: "block" });
  await context.addInitScript(listen);
  const page = await context.newPage();
  page.setDefaultTimeout(300_000); // on a busy machine
  await page.goto(server.resolvedUrls.local[0]);
  await page.waitForSelector("#status[data-state=active]");
  await sleep(SETTLED_MILLISECONDS);
  await page.evaluate(() => (globalThis.frames_ms.length = 0));
  const ended = await trace();
  await page.click("#microphone");
  await sleep(1000 * Number(values.seconds));
  const { times, missed } = await page.evaluate(() => ({ times: globalThis.frames_ms, missed: globalThis.missed }));
  const tasks = await ended();
  await context.close();
  await server.close();
  const early = missed.filter(({ position }) => position <= 16_000).at(-1)?.missed ?? 0;
  const steady = times.slice(125);
  return [
    `first frame ${times[0].toFixed(1)} ms, ${early} of the first 125 too late, ${missed.at(-1).missed - early} of the other ${steady.length}`,
    `then median ${at(steady, 0.5)} ms, 99 % ${at(steady, 0.99)} ms`,
    `of it processor ${at(tasks.processor, 0.5)} and ${at(tasks.processor, 0.99)} ms, waiting ${at(tasks.waiting, 0.5)} and ${at(tasks.waiting, 0.99)} ms`,
  ].join("; ");
}

/** In the page: keeps what worker and audio thread report. */
function listen() {
  globalThis.frames_ms = [];
  globalThis.missed = [];
  const [UsualWorker, UsualNode] = [Worker, AudioWorkletNode];
  globalThis.Worker = class extends UsualWorker {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => data.kind === "timing" && globalThis.frames_ms.push(...data.frameMilliseconds));
    }
  };
  globalThis.AudioWorkletNode = class extends UsualNode {
    constructor(...given) {
      super(...given);
      this.port.addEventListener("message", ({ data }) => globalThis.missed.push({ position: data.position, missed: data.missed }));
    }
  };
}

/** Milliseconds of the worker's tasks that run the model, once it is ended. */
async function trace() {
  const session = await browser.newBrowserCDPSession();
  const events = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...value));
  await session.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { includedCategories: ["toplevel"] } });
  return async () => {
    const complete = new Promise((done) => session.once("Tracing.tracingComplete", done));
    await session.send("Tracing.end");
    await complete;
    const place = ({ pid, tid }) => `${pid} ${tid}`;
    const workers = new Set(events.filter(({ name, args }) => name === "thread_name" && args.name.startsWith("DedicatedWorker")).map(place));
    const tasks = events.filter((event) => event.name === "ThreadControllerImpl::RunTask" && workers.has(place(event)) && event.tdur > 1000);
    return { processor: tasks.map(({ tdur }) => tdur / 1000), waiting: tasks.map(({ dur, tdur }) => (dur - tdur) / 1000) };
  };
}

function at(list, part) {
  return list.toSorted((a, b) => a - b)[Math.floor(part * list.length)]?.toFixed(2);
}
