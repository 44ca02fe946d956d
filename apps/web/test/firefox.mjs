/**
 * The page in Firefox: self-test, a file, what is saved, the microphone, no network. By hand, for it needs a driver of
 * its own (Playwright's needs commands that Firefox 153 lacks) and Debian's firefox-esr:
 * npm install --no-save puppeteer-core@25.16.0 && npm run build && node test/firefox.mjs [FOLDER for what it saves]
 */

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import puppeteer from "puppeteer-core";
import { preview } from "vite";

const PATIENCE_MILLISECONDS = 300_000;
const folder = process.argv[2] ?? mkdtempSync(join(tmpdir(), "firefox-"));
const server = await preview({
  root: new URL("..", import.meta.url).pathname,
  logLevel: "error",
  preview: { port: 0, host: "localhost" },
});
const address = server.resolvedUrls.local[0];
const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: "/usr/bin/firefox-esr",
  protocolTimeout: PATIENCE_MILLISECONDS,
  extraPrefsFirefox: {
    "browser.download.folderList": 2,
    "browser.download.dir": folder,
    "media.autoplay.default": 0,
    "media.navigator.permission.disabled": true,
    "media.navigator.streams.fake": true, // a tone for a microphone
  },
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MILLISECONDS);
  const text = (selector) => page.$eval(selector, (element) => element.textContent);
  console.log(await browser.version());

  await visit(page);
  console.log(await page.$eval("#status", (element) => element.title));

  await enhance(page, "machine");
  const parts = [];
  for (const what of ["input", "voice", "room", "noise"]) parts.push(await saved(page, what, `machine_${what}`));
  const [input, voice, room, noise] = parts;
  const rest = input.map((sample, index) => sample - voice[index] - room[index] - noise[index]);
  assert(power(rest) < 1e-9 * power(input), "the parts do not sum to the input");
  assert(power(noise) > 1e-3 * power(input), "nothing was taken out");
  await saved(page, "mix", "machine_enhanced");
  console.log("a file: four parts that sum to it, and its result, saved");

  await page.click("#microphone");
  const live = () => document.getElementById("time").textContent === "0:05" || document.getElementById("notice").textContent;
  await page.waitForFunction(live);
  const facts = await Promise.all(["#latency", "#frame-p50", "#frame-p99", "#in-time", "#notice"].map(text));
  console.log("microphone: latency, median, 99 %, in time, notice:", facts.join(" | "));
  await page.click("#microphone");

  await page.waitForFunction(() => navigator.serviceWorker.controller);
  server.httpServer.closeAllConnections();
  await server.close();
  await visit(page);
  await enhance(page, "quiet");
  console.log("without the server: model active, a sample enhanced");
} finally {
  await browser.close();
}
process.exit(0);

async function visit(page) {
  await page.goto(address);
  await page.waitForSelector("#status:not([data-state=loading])");
  assert.equal(await page.$eval("#status-text", (element) => element.textContent), "Model active");
}

async function enhance(page, sample) {
  await page.click(`[data-sample=${sample}]`);
  await page.waitForFunction((title) => document.title.startsWith(title), {}, sample);
  await page.waitForSelector("[data-save=mix]:enabled");
}

async function saved(page, what, name) {
  await page.click(`[data-save=${what}]`);
  const path = join(folder, `${name}.wav`);
  for (let tries = 0; tries < 600; tries++) {
    const bytes = existsSync(path) ? readFileSync(path) : Buffer.of();
    if (bytes.length > 58 && bytes.length === bytes.readUInt32LE(4) + 8) {
      return new Float32Array(Uint8Array.from(bytes.subarray(58)).buffer);
    }
    await sleep(100);
  }
  assert.fail(`${name}.wav was not saved`);
}

function power(samples) {
  return samples.reduce((sum, sample) => sum + sample * sample, 0);
}
