/** The microphone, played by Chromium from a noisy recording; tests/test_page.py judges the results. */

import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, it, type TestContext } from "vitest";
import { agreementDb } from "../src/selftest.ts";
import { levelDb } from "../src/statistics.ts";
import { close, FOLDER, leave, notice, open, saved, second, setFaders, settled, status, stopAtSecond, visit, waitUntilSecond, worked, type Place } from "./browser.ts";

const RATE_HZ = 16_000;
const HOP = 128;
let place: Place;
beforeAll(async () => void (place = await open()));
afterEach(() => leave(place));
afterAll(() => close(place));

it("records, enhances, and offers what it was fed", async () => {
  const page = await visit(place, { microphone: true });
  await setFaders(page, 0, 0, -40);
  await page.click("#microphone");
  await stopAtSecond(page, 9);
  expect(await page.textContent("#latency")).toMatch(/^\d+ ms$/);
  const measured = ["#frame-p50", "#frame-p99", "#load", "#in-time"].map((id) => page.textContent(id));
  const said = await Promise.all(measured);
  console.log("median, 99 %, load, in time:", ...said);
  expect(said.slice(0, 2)).toEqual([expect.stringMatching(/^[\d.]+ of 8 ms$/), expect.stringMatching(/^[\d.]+ of 8 ms$/)]);
  console.log(await page.getAttribute("#latency", "title"));
  writeFileSync(`${FOLDER}/missed.txt`, (await page.getAttribute("#in-time", "title"))!.split(" ")[0]!);
  const input = await saved(page, "input", "microphone_input");
  const heard = await saved(page, "heard", "microphone_heard");
  await worked(page);
  const enhanced = await saved(page, "mix", "microphone_enhanced");
  expect([heard.length, enhanced.length]).toEqual([input.length, input.length]);
  expect(input.length).toBeGreaterThan(8.5 * RATE_HZ);
});

it("bypasses exactly and moves its faders at once, by keys, in a context of 44.1 kHz", async (context) => {
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
  await page.keyboard.press("b");
  expect(await page.getAttribute("#bypass", "aria-pressed")).toBe("true");
  await page.keyboard.press("m");
  await waitUntilSecond(page, 3);
  await page.keyboard.press("b");
  await setFaders(page, -40, -40, -40);
  await waitUntilSecond(page, (await second(page)) + 3);
  await page.keyboard.press("m");
  const input = await saved(page, "input", "bypass_input");
  const heard = await saved(page, "heard", "bypass_heard");
  const bypassed = [RATE_HZ, 2 * RATE_HZ] as const;
  expect(levelDb(input.subarray(...bypassed))).toBeGreaterThan(-60);
  expect(agreementDb(input.subarray(...bypassed), heard.subarray(...bypassed))).toBeGreaterThan(90);
  silentOrMissed(context, input.slice(-RATE_HZ), heard.slice(-RATE_HZ));
});

/** With all faders down every frame is silent, but for those that came too late: they are heard as they came. */
function silentOrMissed(context: TestContext, input: Float32Array, heard: Float32Array): void {
  const frames = Array.from({ length: Math.floor(heard.length / HOP) }, (_, number) => {
    const part = [number * HOP, (number + 1) * HOP] as const;
    if (levelDb(heard.subarray(...part)) < -100) return "silent";
    return agreementDb(input.subarray(...part), heard.subarray(...part)) > 60 ? "missed" : "between";
  });
  const count = (what: string): number => frames.filter((frame) => frame === what).length;
  if (!count("silent")) context.skip(`machine too busy: ${count("missed")} of ${frames.length} frames missed`);
  expect(count("between")).toBeLessThanOrEqual(2 * count("missed") + 2); // a fade on either side
}

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

it.each([
  ["NotFoundError", "No microphone was found."],
  ["NotReadableError", "in use by another program"],
])("says what to do about a microphone's %s", async (name, message) => {
  const page = await visit(place);
  await page.evaluate((error) => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", error));
  }, name);
  await page.click("#microphone");
  expect(await notice(page)).toContain(message);
});

it("keeps what it recorded when the microphone is unplugged", async () => {
  const page = await visit(place, { microphone: true });
  await page.evaluate(() => {
    const usual = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      const stream = await usual(wanted);
      Object.assign(window, { unplug: () => stream.getAudioTracks()[0]!.dispatchEvent(new Event("ended")) });
      return stream;
    };
  });
  await page.click("#microphone");
  await waitUntilSecond(page, 1);
  await page.evaluate(() => (window as unknown as { unplug: () => void }).unplug());
  await notice(page, "The microphone went away. What it recorded until then is kept.");
  expect((await saved(page, "input", "unplugged_input")).length).toBeGreaterThan(RATE_HZ / 2);
});
