/** The page's elements, and what changes on them. Decides nothing. */

import { faderText, type Faders } from "./faders.ts";
import type { Latency } from "./sound.ts";
import type { Recent } from "./statistics.ts";

export type Saved = "mix" | "voice" | "room" | "noise" | "input" | "heard";

function find<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function all<T extends HTMLElement>(selector: string): T[] {
  return [...document.querySelectorAll<T>(selector)];
}

/** Setting a text costs the browser a layout even where it is the same. */
function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export const elements = {
  status: find("status"),
  statusText: find("status-text"),
  loading: find<HTMLProgressElement>("loading"),
  again: find<HTMLButtonElement>("again"),
  microphone: find<HTMLButtonElement>("microphone"),
  open: find<HTMLButtonElement>("open"),
  file: find<HTMLInputElement>("file"),
  samples: all<HTMLButtonElement>("[data-sample]"),
  notice: find("notice"),
  before: find<HTMLCanvasElement>("before"),
  after: find<HTMLCanvasElement>("after"),
  play: find<HTMLButtonElement>("play"),
  seek: find<HTMLInputElement>("seek"),
  listen: find<HTMLInputElement>("listen"),
  bypass: find<HTMLButtonElement>("bypass"),
  faders: all<HTMLInputElement>("[data-fader]"),
  saves: all<HTMLButtonElement>("[data-save]"),
};

export function showStatus(state: "loading" | "active" | "failed", text: string): void {
  elements.status.dataset["state"] = state;
  elements.statusText.textContent = text;
  elements.loading.hidden = state !== "loading";
  elements.again.hidden = state !== "failed";
  for (const button of [elements.microphone, elements.open, ...elements.samples]) {
    button.disabled = state !== "active" && button.dataset["live"] !== "true";
  }
}

/** A message in words for people; none takes the last one away. */
export function showNotice(text = ""): void {
  write(elements.notice, text);
  elements.notice.hidden = !text;
}

export function showFaders(faders: Faders, bypass: boolean): void {
  elements.faders.forEach((fader, index) => {
    const text = faderText(faders[index]!);
    fader.value = String(faders[index]);
    fader.setAttribute("aria-valuetext", text);
    fader.parentElement!.querySelector("output")!.textContent = text;
  });
  elements.bypass.setAttribute("aria-pressed", String(bypass));
  find("after-name").textContent = bypass ? "After, bypassed: the same as before" : "After";
}

export function showLive(live: boolean): void {
  elements.microphone.textContent = live ? "Stop" : "Microphone";
  elements.microphone.dataset["live"] = String(live);
  find("listen-label").hidden = !live;
  elements.seek.hidden = live;
  elements.play.hidden = live;
  if (!live) return;
  find("hint").hidden = true;
  elements.saves.forEach((button) => (button.disabled = true)); // there is nothing yet
}

export function showPlaying(playing: boolean): void {
  elements.play.dataset["playing"] = String(playing);
  elements.play.setAttribute("aria-label", playing ? "Pause" : "Play");
}

export function showTime(seconds: number, total?: number): void {
  write(find("time"), total === undefined ? clock(seconds) : `${clock(seconds)} / ${clock(total)}`);
  if (total === undefined) return;
  elements.seek.max = String(total);
  elements.seek.value = String(seconds);
  elements.seek.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(total)}`);
}

export function showLevel(which: "before" | "after", levelDb: number): void {
  const meter = find(`meter-${which}`);
  const shown = Math.max(-60, Math.min(0, levelDb));
  meter.ariaValueNow = shown.toFixed(0);
  // neither layout nor transform: either makes the browser look again for what is under the mouse
  meter.style.backgroundSize = `${(100 + shown / 0.6).toFixed(0)}% 100%`;
}

export function showSilence(): void {
  showLevel("before", -Infinity);
  showLevel("after", -Infinity);
}

/** What a frame takes, against what it may take. */
export function showTimings(recent: Recent, frameMilliseconds: number): void {
  const [median, slow] = recent.percentiles(0.5, 0.99) as [number, number];
  for (const [id, taken] of [["frame-p50", median], ["frame-p99", slow]] as const) {
    write(find(id), `${taken.toFixed(taken < 10 ? 1 : 0)} of ${frameMilliseconds} ms`);
    find(id).dataset["late"] = String(taken > frameMilliseconds);
  }
  const load = Math.round((100 * median) / frameMilliseconds);
  write(find("load"), load > 100 ? "over 100 %" : `${load} %`);
}

export function showLatency({ model, queue, filters, device }: Latency): void {
  const latency = find("latency");
  write(latency, `${Math.round(model + queue + filters + device)} ms`);
  const parts = { model, queue, filters, device };
  latency.title = Object.entries(parts).map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`).join(", ");
}

/** Frames that the model returned in time; the others were heard as they came. */
export function showInTime(frames: number, missed: number): void {
  const inTime = find("in-time");
  write(inTime, `${(Math.floor((1000 * (frames - missed)) / frames) / 10).toFixed(missed ? 1 : 0)} %`);
  inTime.title = `${missed} of ${frames} frames came too late and were heard as they were`;
}

/** What can be saved of the take; `progress` of its processing, 0 to 1. */
export function showTake(name: string, progress: number, heard: boolean): void {
  const done = progress === 1;
  find("hint").hidden = true;
  find("save-name").textContent = done ? "Save" : `Working, ${Math.floor(100 * progress)} %`;
  elements.saves.forEach((button) => {
    if (button.dataset["save"] === "heard") button.hidden = !heard;
    button.disabled = !done && button.dataset["save"] !== "input" && button.dataset["save"] !== "heard";
  });
  document.title = `${name} – truenet`;
  elements.play.disabled = elements.seek.disabled = progress === 0;
}

export function showWeight(bytes: number): void {
  find("weight").textContent = `The first visit loads ${(bytes / 1e6).toFixed(1)} MB.`;
}

export function save(file: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function clock(seconds: number): string {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
