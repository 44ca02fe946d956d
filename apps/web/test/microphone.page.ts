/** The microphone, played by Chromium from a noisy recording; tests/test_page.py judges the results. */

import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { agreementDb } from "../src/selftest.ts";
import { levelDb } from "../src/statistics.ts";
import { close, FOLDER, leave, notice, open, saved, setFaders, settled, status, visit, waitUntilSecond, worked, type Place } from "./browser.ts";

const RATE_HZ = 16_000;
let place: Place;
beforeAll(async () => void (place = await open()));
afterEach(() => leave(place));
afterAll(() => close(place));

it("records, enhances, and offers what it was fed", async () => {
  const page = await visit(place, { microphone: true });
  await setFaders(page, 0, 0, -40);
  await page.click("#microphone");
  await waitUntilSecond(page, 9);
  expect(await page.textContent("#latency")).toMatch(/^\d+ ms$/);
  const measured = ["#frame-p50", "#frame-p99", "#load", "#missed"].map((id) => page.textContent(id));
  console.log("median, 99 %, load, missed:", ...(await Promise.all(measured)));
  console.log(await page.getAttribute("#latency", "title"));
  writeFileSync(`${FOLDER}/missed.txt`, (await page.textContent("#missed"))!);
  await page.click("#microphone");
  const input = await saved(page, "input", "microphone_input");
  const heard = await saved(page, "heard", "microphone_heard");
  await worked(page);
  const enhanced = await saved(page, "mix", "microphone_enhanced");
  expect([heard.length, enhanced.length]).toEqual([input.length, input.length]);
  expect(input.length).toBeGreaterThan(8.5 * RATE_HZ);
});

it("bypasses exactly and moves its faders at once, in a context of 44.1 kHz", async () => {
  const page = await visit(place, {
    microphone: true,
    prepare: (context) =>
      context.addInitScript(() => {
        const Usual = AudioContext;
        window.AudioContext = class extends Usual {
          constructor(options?: AudioContextOptions) {
            super({ ...options, sampleRate: 44_100 });
          }
        };
      }),
  });
  await page.click("#microphone");
  await page.keyboard.press("b");
  expect(await page.getAttribute("#bypass", "aria-pressed")).toBe("true");
  await waitUntilSecond(page, 3);
  await page.keyboard.press("b");
  await setFaders(page, -40, -40, -40);
  await waitUntilSecond(page, 6);
  await page.click("#microphone");
  const input = await saved(page, "input", "bypass_input");
  const heard = await saved(page, "heard", "bypass_heard");
  const bypassed = [1.5 * RATE_HZ, 2.5 * RATE_HZ] as const;
  expect(levelDb(input.subarray(...bypassed))).toBeGreaterThan(-60);
  expect(agreementDb(input.subarray(...bypassed), heard.subarray(...bypassed))).toBeGreaterThan(90);
  // a busy machine may miss a frame, which is then heard as it came
  const silent = heard.subarray(4.5 * RATE_HZ, 5.3 * RATE_HZ).filter((sample) => Math.abs(sample) < 1e-5);
  expect(silent.length).toBeGreaterThan(0.6 * RATE_HZ);
});

it("goes on with the input when the worker is killed, says so, and starts again", async () => {
  const page = await visit(place, {
    microphone: true,
    prepare: (context) =>
      context.addInitScript(() => {
        const Usual = Worker;
        const workers: Worker[] = ((window as unknown as { workers: Worker[] }).workers = []);
        window.Worker = class extends Usual {
          constructor(url: string | URL, options?: WorkerOptions) {
            super(url, options);
            workers.push(this);
          }
        };
      }),
  });
  await setFaders(page, -40, -40, -40);
  await page.click("#microphone");
  await waitUntilSecond(page, 1);
  await page.evaluate(() => (window as unknown as { workers: Worker[] }).workers[0]!.terminate());
  await page.waitForSelector("#status[data-state=failed]");
  expect(await status(page)).toBe("Model not active");
  expect(await notice(page)).toContain("no longer answers. You hear the input, unchanged.");
  await page.click("#again");
  await settled(page);
  expect(await status(page)).toBe("Model active");
  await page.click("#microphone");
  const [input, heard] = [await saved(page, "input", "killed_input"), await saved(page, "heard", "killed_heard")];
  expect(heard.length).toBe(input.length);
  expect(heard.some((sample) => Math.abs(sample) > 0.01)).toBe(true);
});

it("says how to allow a microphone that was denied", async () => {
  const page = await visit(place);
  await page.click("#microphone");
  expect(await notice(page)).toContain("The microphone was not allowed");
});
