/** Chromium with the built page in it, and a microphone that plays a file. */

import { readFileSync } from "node:fs";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";
import { preview, type PreviewServer } from "vite";

/** Where tests/test_page.py puts recordings and fetches results. */
export const FOLDER = process.env["TRUENET_PAGE_FOLDER"] ?? "";

const PATIENCE_MILLISECONDS = 400_000; // for what takes a second where nothing else runs

/** A name of this machine that browsers do not trust as they trust localhost. */
export const INSECURE_HOST = "insecure.test";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
  `--host-resolver-rules=MAP ${INSECURE_HOST} localhost`,
  "--use-fake-device-for-media-stream",
  `--use-file-for-fake-audio-capture=${FOLDER}/noisy.wav%noloop`,
];

export interface Place {
  browser: Browser;
  server: PreviewServer;
  address: string;
}

export async function open(): Promise<Place> {
  const root = new URL("..", import.meta.url).pathname;
  const server = await preview({ root, logLevel: "error", preview: { port: 0, host: "localhost", allowedHosts: [INSECURE_HOST] } });
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  return { browser, server, address: server.resolvedUrls!.local[0]! };
}

export async function close({ browser, server }: Place): Promise<void> {
  await browser.close();
  await server.close();
}

/** Ends what a test has left open, for it may have failed while the microphone ran. */
export async function leave({ browser }: Place): Promise<void> {
  for (const context of browser.contexts()) await context.close();
}

export interface Visit {
  microphone?: boolean;
  offline?: boolean; // with a service worker
  host?: string;
  prepare?: (context: BrowserContext) => Promise<unknown>;
  look?: BrowserContextOptions; // size and colours
}

/** The page in a browser context of its own, once it has its model or has failed. */
export async function visit({ browser, address }: Place, options: Visit = {}): Promise<Page> {
  const context = await browser.newContext({
    permissions: options.microphone ? ["microphone"] : [],
    serviceWorkers: options.offline ? "allow" : "block",
    acceptDownloads: true,
    ...options.look,
  });
  context.setDefaultTimeout(PATIENCE_MILLISECONDS);
  await options.prepare?.(context);
  const page = await context.newPage();
  await page.goto(address.replace("localhost", options.host ?? "localhost"));
  await settled(page);
  return page;
}

export async function settled(page: Page): Promise<void> {
  await page.waitForSelector("#status:not([data-state=loading])");
}

export const status = (page: Page): Promise<string | null> => page.textContent("#status-text");

/** The message that the page shows; one that contains `wanted`, where it may show another before. */
export async function notice(page: Page, wanted = ""): Promise<string> {
  await page.waitForFunction((text) => {
    const shown = document.getElementById("notice")!;
    return !shown.hidden && shown.textContent!.includes(text);
  }, wanted);
  return (await page.textContent("#notice")) ?? "";
}

/** Until the recording that is open has been worked through. */
export async function worked(page: Page): Promise<void> {
  await page.waitForSelector("[data-save=mix]:enabled", { timeout: 3 * PATIENCE_MILLISECONDS });
}

/** Presses one of the buttons that save, keeps the file in FOLDER and returns its samples. */
export async function saved(page: Page, what: string, name: string): Promise<Float32Array> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(`[data-save=${what}]`)]);
  const path = `${FOLDER}/${name}.wav`;
  await download.saveAs(path);
  const bytes = readFileSync(path);
  return new Float32Array(Uint8Array.from(bytes.subarray(58)).buffer);
}

export async function setFader(page: Page, index: number, levelDb: number): Promise<void> {
  await page.locator(`[data-fader="${index}"]`).fill(String(levelDb));
}

export async function setFaders(page: Page, ...levels: number[]): Promise<void> {
  for (const [index, level] of levels.entries()) await setFader(page, index, level);
}

/** Seconds that the page says have passed. */
export async function second(page: Page): Promise<number> {
  const [minutes, seconds] = (await page.textContent("#time"))!.split(" ")[0]!.split(":");
  return 60 * Number(minutes) + Number(seconds);
}

export async function waitUntilSecond(page: Page, second: number): Promise<void> {
  const passed = (wanted: number): boolean => {
    const [minutes, seconds] = document.getElementById("time")!.textContent!.split(" ")[0]!.split(":");
    return 60 * Number(minutes) + Number(seconds) >= wanted;
  };
  await page.waitForFunction(passed, second);
}

/** Ends a recording from within the page: a busy machine would let us come minutes late. */
export async function stopAtSecond(page: Page, second: number): Promise<void> {
  await page.evaluate((wanted) => {
    const [time, button] = [document.getElementById("time")!, document.getElementById("microphone")!];
    return new Promise<void>((done) => {
      const look = setInterval(() => {
        const [minutes, seconds] = time.textContent!.split(":");
        if (60 * Number(minutes) + Number(seconds) < wanted) return;
        clearInterval(look);
        button.click();
        done();
      }, 100);
    });
  }, second);
}
