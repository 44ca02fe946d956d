/** Files in Chromium: good ones, bad ones, and a page whose own files are missing or cut off. */

import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { agreementDb } from "../src/selftest.ts";
import { close, FOLDER, INSECURE_HOST, leave, notice, open, saved, setFaders, settled, status, visit, waitUntilSecond, worked, type Place } from "./browser.ts";

let place: Place;
beforeAll(async () => void (place = await open()));
afterEach(() => leave(place));
afterAll(() => close(place));

it("splits a sample into parts that sum to it, and plays it", async () => {
  const page = await visit(place);
  expect(await status(page)).toBe("Model active");
  await page.click("[data-sample=machine]");
  await worked(page);
  const input = await saved(page, "input", "machine_input");
  const parts = [await saved(page, "voice", "voice"), await saved(page, "room", "room"), await saved(page, "noise", "noise")];
  expect(agreementDb(input, input.map((_, i) => parts[0]![i]! + parts[1]![i]! + parts[2]![i]!))).toBeGreaterThan(90);
  await saved(page, "mix", "machine_enhanced");
  await setFaders(page, 0, 0, 0);
  expect(agreementDb(input, await saved(page, "mix", "faders_at_one"))).toBeGreaterThan(90);
  await waitUntilSecond(page, 2);
  expect(await page.textContent("#time")).toMatch(/ \/ 0:04$/);
});

it("says what is wrong with a file, then takes three minutes of stereo", async () => {
  const page = await visit(place);
  for (const [file, message] of [
    ["words.txt", "holds no sound that this browser can decode"],
    ["empty.wav", "is empty"],
    ["huge.wav", "is too large for a web page: 2,000 MB"],
    ["hour.wav", "lasts 20 minutes; a web page holds 15"],
  ] as const) {
    await page.setInputFiles("#file", `${FOLDER}/${file}`);
    expect(await notice(page, message)).toContain(file);
  }
  await page.setInputFiles("#file", `${FOLDER}/minutes.wav`);
  await worked(page);
  expect(await page.textContent("#time")).toMatch(/ \/ 3:00$/);
  const input = await saved(page, "input", "minutes_input");
  const enhanced = await saved(page, "mix", "minutes_enhanced");
  expect([input.length, enhanced.length]).toEqual([180 * 16_000, 180 * 16_000]);
});

it.each([
  ["missing", 404, "", "The model file is missing from this host (404)"],
  ["another page", 200, "<!doctype html>", "damaged"],
  ["cut off", 200, "\u0008\u0008\u0012", "damaged"],
])("says loudly that the model file is %s", async (_, statusCode, body, message) => {
  const page = await visit(place, {
    prepare: (context) => context.route("**/truenet.onnx", (route) => route.fulfill({ status: statusCode, body })),
  });
  expect(await status(page)).toBe("Model not active");
  expect(await notice(page)).toContain(message);
  expect(await page.isDisabled("#microphone")).toBe(true);
});

it("says that it needs HTTPS", async () => {
  const page = await visit(place, { host: INSECURE_HOST });
  expect(await status(page)).toBe("Model not active");
  expect(await notice(page)).toContain("open it over HTTPS");
});

it("works without a network after the first visit, and isolated from other origins", async () => {
  const page = await visit(place, { offline: true });
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  await page.context().setOffline(true);
  await page.reload();
  await settled(page);
  expect(await status(page)).toBe("Model active");
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  await page.click("[data-sample=quiet]");
  await page.waitForFunction(() => document.title.startsWith("quiet"));
});
