/** For everybody: screen readers (axe-core), keyboard alone, phones, light and dark. */

import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { close, FOLDER, leave, open, visit, waitUntilSecond, worked, type Place } from "./browser.ts";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const DESKTOP = { viewport: { width: 1280, height: 860 } };
const LEAST_TOUCH_PIXELS = 24; // WCAG 2.2, 2.5.8

let place: Place;
beforeAll(async () => void (place = await open()));
afterEach(() => leave(place));
afterAll(() => close(place));

it.each([
  ["desktop", "light", DESKTOP],
  ["desktop", "dark", DESKTOP],
  ["phone", "light", PHONE],
  ["phone", "dark", PHONE],
] as const)("is usable on a %s, %s, in every state", async (size, colorScheme, look) => {
  const page = await visit(place, { microphone: true, look: { ...look, colorScheme } });
  const state = async (name: string): Promise<void> => {
    await page.screenshot({ path: `${FOLDER}/${size}_${colorScheme}_${name}.png`, fullPage: true });
    expect(await complaints(page), name).toEqual([]);
    expect(await tooWideOrSmall(page), name).toEqual([]);
  };
  await state("start");
  await page.click("[data-sample=machine]");
  await worked(page);
  await state("file");
  await page.setInputFiles("#file", `${FOLDER}/words.txt`);
  await page.waitForSelector("#notice:not([hidden])");
  await state("notice");
  await page.click("#microphone");
  await waitUntilSecond(page, 1);
  await state("live");
  const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const brightness = background.match(/\d+/g)!.slice(0, 3).reduce((sum, value) => sum + Number(value) / 3, 0);
  expect(brightness > 128 ? "light" : "dark").toBe(colorScheme);
});

it("can be used by the keyboard alone, in the order in which it is read", async () => {
  const page = await visit(place);
  await page.focus("[data-sample=machine]");
  await page.keyboard.press("Enter");
  await worked(page);
  await page.keyboard.press("Shift+Tab");
  expect(await focused(page)).toBe("Café");
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  const order = ["Microphone", "Open a file", "Café", "Machine", "Room", "Quiet talker"];
  order.push("Play", "Position", "Bypass", "Voice", "Room", "Noise", "Result", "Voice", "Room", "Noise", "Input");
  const reached: string[] = [];
  await page.focus("#microphone");
  for (const _ of order) {
    reached.push((await focused(page)).replace("Pause", "Play"));
    await page.keyboard.press("Tab");
  }
  expect(reached).toEqual(order);
  await page.focus("[data-fader='2']");
  await page.keyboard.press("Home");
  expect(await page.getAttribute("[data-fader='2']", "aria-valuetext")).toBe("off");
  await page.keyboard.press("End");
  expect(await page.getAttribute("[data-fader='2']", "aria-valuetext")).toBe("+12 dB");
  await page.keyboard.press("b");
  expect(await page.getAttribute("#bypass", "aria-pressed")).toBe("true");
});

/** What a screen reader would call the element that has the focus. */
async function focused(page: Page): Promise<string> {
  return page.evaluate(() => {
    const element = document.activeElement as HTMLElement;
    const label = element.closest("label")?.querySelector("span");
    return (element.getAttribute("aria-label") ?? label?.textContent ?? element.textContent ?? "").trim();
  });
}

/** What axe-core has against the page, by the rules of WCAG 2.2 AA and its best practices. */
async function complaints(page: Page): Promise<string[]> {
  await page.addScriptTag({ path: AXE });
  const results = await page.evaluate(() => (window as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run());
  return results.violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`));
}

/** What must be scrolled to sideways, and what a finger cannot hit. */
async function tooWideOrSmall(page: Page): Promise<string[]> {
  return page.evaluate((least) => {
    const shown = [...document.querySelectorAll("button, input, output, dd")].filter((element) => element.checkVisibility());
    const boxes = shown.map((element) => [element.outerHTML, element.getBoundingClientRect()] as const);
    const wide = boxes.filter(([, box]) => box.left < 0 || box.right > innerWidth);
    const small = boxes.filter(([html, box]) => /^<(button|input)/.test(html) && !html.includes("checkbox") && box.height < least);
    const scrolls = document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [];
    return [...scrolls, ...[...wide, ...small].map(([html]) => html)];
  }, LEAST_TOUCH_PIXELS);
}
