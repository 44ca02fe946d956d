/** What the page does: one thing is open at a time, a recording or the microphone. */

import { download } from "./download.ts";
import { Engine } from "./engine.ts";
import { DEFAULT_DB, linearFaders, type Faders } from "./faders.ts";
import { concatenate } from "./fifo.ts";
import type { Heard, Stems } from "./messages.ts";
import type { ModelInfo } from "./modelfile.ts";
import { Sound } from "./sound.ts";
import { readSound } from "./soundfile.ts";
import { Spectrogram } from "./spectrogram.ts";
import { levelDb, Recent } from "./statistics.ts";
import { Take } from "./take.ts";
import * as view from "./view.ts";
import { writeWav } from "./wav.ts";

const MOST_LIVE_SECONDS = 15 * 60;
const REST_MILLISECONDS = 250;
const INSECURE = "Browsers give the microphone, and sound as this page makes it, to secure pages only: open it over HTTPS, or on the device that serves it.";
const TOO_BUSY = "This device is too busy: you hear the input, unchanged, until the model has caught up.";

interface Recording {
  before: Float32Array[];
  after: Float32Array[];
  samples: number;
}

export class App {
  faders: Faders = [...DEFAULT_DB];
  bypass = false;
  live = false;
  #playing = false;
  #info: ModelInfo | undefined;
  #sound: Sound | undefined;
  #take: Take | undefined;
  #recording: Recording = { before: [], after: [], samples: 0 };
  #workBegan = 0;
  #startsByItself = false;
  #missed = 0;
  #paintsFrom = 0;
  readonly #timings = new Recent();
  readonly #before = new Spectrogram(view.elements.before);
  readonly #after = new Spectrogram(view.elements.after);
  readonly #engine = new Engine({
    progress: (part) => (view.elements.loading.value = part),
    ready: (info, selfTestDb) => this.#ready(info, selfTestDb),
    failed: (message) => this.#failed(message),
    part: (stems, progress) => this.#addPart(stems, progress),
    timing: (milliseconds) => this.#showTimings(milliseconds),
  });

  /** Loads the model; again after it failed. */
  async start(): Promise<void> {
    if (!isSecureContext) return this.#failed(INSECURE);
    view.showStatus("loading", "Loading the model");
    await this.#engine.start();
  }

  repaint(): void {
    this.#before.repaint();
    this.#after.repaint();
  }

  setFader(index: number, levelDb: number): void {
    this.faders[index] = levelDb;
    this.#sendFaders();
  }

  toggleBypass(): void {
    this.bypass = !this.bypass;
    this.#sendFaders();
  }

  async openFile(file: Blob | Promise<Blob>, name: string): Promise<void> {
    if (!this.#info) return;
    view.showNotice();
    await this.#stopAll();
    try {
      const sound = await this.#openSound(this.#info);
      void sound.context.resume(); // before the click is forgotten; stays silent where the browser waits for one
      const input = await readSound(await file, name, this.#info.sampleRateHz);
      this.#open(new Take(name.replace(/\.[^.]*$/, ""), input), true);
    } catch (error) {
      view.showNotice(words(error));
    }
  }

  async openSample(name: string): Promise<void> {
    const file = download(`samples/${name}.flac`, "The sample", () => undefined);
    await this.openFile(file.then((bytes) => new Blob([bytes])), `${name}.flac`);
  }

  async toggleMicrophone(): Promise<void> {
    if (this.live) await this.#stopAll();
    else await this.#startMicrophone();
  }

  togglePlay(): void {
    if (this.live || !this.#take) return;
    this.#sound?.start().catch((error: unknown) => view.showNotice(words(error)));
    if (this.#take.done && this.#atEnd()) this.seek(0);
    this.#play(!this.#playing);
  }

  seek(seconds: number): void {
    if (!this.#info) return;
    this.#sound?.tell({ kind: "seek", sample: Math.round(seconds * this.#info.sampleRateHz) });
    this.#showPosition(seconds * this.#info.sampleRateHz);
  }

  listen(on: boolean): void {
    this.#sound?.tell({ kind: "listen", on });
  }

  save(what: view.Saved): void {
    const take = this.#take;
    if (!take || !this.#info) return;
    const samples = {
      mix: () => take.mix(this.faders),
      voice: () => take.part("voice"),
      room: () => take.part("room"),
      noise: () => take.part("noise"),
      input: () => take.input,
      heard: () => take.heard ?? take.input,
    }[what]();
    view.save(writeWav(samples, this.#info.sampleRateHz), `${take.name}_${what === "mix" ? "enhanced" : what}.wav`);
  }

  #ready(info: ModelInfo, selfTestDb: number): void {
    this.#info = info;
    view.showStatus("active", "Model active");
    view.elements.status.title = `${info.name}, ${info.precision}; the self-test agrees with Python to ${selfTestDb.toFixed(0)} dB`;
    if (this.live) this.#connect();
    else if (this.#take && !this.#take.done) this.#open(new Take(this.#take.name, this.#take.input, this.#take.heard), false);
  }

  #failed(message: string): void {
    view.showStatus("failed", "Model not active");
    view.showNotice(message + (this.live ? " You hear the input, unchanged." : ""));
  }

  async #openSound(info: ModelInfo): Promise<Sound> {
    this.#sound ??= await Sound.open(info, (heard) => this.#heard(heard));
    this.#sendFaders();
    return this.#sound;
  }

  async #startMicrophone(): Promise<void> {
    if (!this.#info) return;
    view.showNotice();
    await this.#stopAll();
    try {
      const sound = await this.#openSound(this.#info);
      const processed = await sound.openMicrophone(() => void this.#lost());
      if (processed.length) view.showNotice(`The browser processes the microphone all the same: ${processed.join(", ")}.`);
      this.#take = undefined;
      this.#recording = { before: [], after: [], samples: 0 };
      this.live = true;
      this.#timings.clear();
      this.#clear();
      this.listen(view.elements.listen.checked);
      this.#connect();
      view.showLive(true);
    } catch (error) {
      this.#sound?.closeMicrophone();
      view.showNotice(words(error));
    }
  }

  /** Worker and audio thread talk to each other; the page only looks on. */
  #connect(): void {
    const { port1, port2 } = new MessageChannel();
    this.#engine.live(port1, linearFaders(this.faders, this.bypass));
    this.#sound?.tell({ kind: "live", port: port2 });
  }

  async #lost(): Promise<void> {
    if (!this.live) return;
    await this.#stopAll();
    view.showNotice("The microphone went away. What it recorded until then is kept.");
  }

  async #stopAll(): Promise<void> {
    this.#engine.stop();
    this.#play(false);
    if (!this.live || !this.#sound) return;
    this.live = false;
    view.showLive(false);
    this.#sound.closeMicrophone();
    const { before, after } = this.#recording;
    const input = concatenate(before).slice(this.#sound.lateSamples);
    const heard = concatenate(after).slice(this.#sound.lateSamples);
    if (input.length) this.#open(new Take("microphone", input, heard), false);
  }

  #open(take: Take, startsByItself: boolean): void {
    this.#take = take;
    this.#startsByItself = startsByItself;
    this.#workBegan = performance.now();
    this.#sound?.tell({ kind: "open" });
    this.#play(false);
    this.#clear();
    this.#showPosition(0);
    view.showTake(take.name, 0, take.heard !== undefined);
    this.#engine.stems(take.input);
  }

  #addPart(stems: Stems, progress: number): void {
    const take = this.#take;
    if (!take || !this.#info) return;
    take.add(stems, progress);
    this.#sound?.tell({ kind: "part", stems });
    view.showTake(take.name, progress, take.heard !== undefined);
    const needed = ((performance.now() - this.#workBegan) * (1 - progress)) / progress;
    const lasts = (1000 * take.input.length) / this.#info.sampleRateHz;
    if (!this.#startsByItself || needed > lasts || this.#sound?.context.state !== "running") return;
    this.#startsByItself = false;
    this.#play(true);
  }

  #play(playing: boolean): void {
    this.#playing = playing;
    this.#sound?.tell({ kind: "play", playing });
    view.showPlaying(playing);
    if (!playing) view.showSilence();
  }

  #heard(heard: Heard): void {
    const paint = performance.now() >= this.#paintsFrom;
    // painting competes with the model for a core: where frames come too late, it is done less often
    if (paint && heard.missed > this.#missed) this.#paintsFrom = performance.now() + REST_MILLISECONDS;
    this.#missed = heard.missed;
    this.#before.add(heard.before, paint);
    this.#after.add(heard.after, paint);
    view.showLevel("before", levelDb(heard.before));
    view.showLevel("after", levelDb(heard.after));
    if (this.live) this.#heardLive(heard);
    else this.#showPosition(heard.position);
    if (!this.live && heard.ended && this.#take?.done) this.#play(false);
  }

  #heardLive(heard: Heard): void {
    const rate = this.#info!.sampleRateHz;
    this.#recording.before.push(heard.before);
    this.#recording.after.push(heard.after);
    this.#recording.samples += heard.before.length;
    view.showInTime(heard.position / this.#info!.hopSamples, heard.missed);
    view.showTime(this.#recording.samples / rate);
    if (this.#recording.samples % rate < heard.before.length) view.showLatency(this.#sound!.latency());
    if (heard.tooBusy && view.elements.status.dataset["state"] === "active") view.showNotice(TOO_BUSY);
    else if (view.elements.notice.textContent === TOO_BUSY) view.showNotice();
    if (this.#recording.samples < MOST_LIVE_SECONDS * rate) return;
    void this.#stopAll();
    view.showNotice("A quarter of an hour is what a web page holds; the recording was stopped.");
  }

  #atEnd(): boolean {
    return Number(view.elements.seek.value) >= Number(view.elements.seek.max) - 0.01;
  }

  #showPosition(samples: number): void {
    if (!this.#take || !this.#info) return;
    const rate = this.#info.sampleRateHz;
    view.showTime(samples / rate, this.#take.input.length / rate);
  }

  #clear(): void {
    this.#before.clear();
    this.#after.clear();
  }

  #sendFaders(): void {
    const faders = linearFaders(this.faders, this.bypass);
    this.#engine.setFaders(faders);
    this.#sound?.tell({ kind: "faders", faders });
    view.showFaders(this.faders, this.bypass);
  }

  #showTimings(milliseconds: number[]): void {
    this.#timings.add(milliseconds);
    if (!this.#info || this.#timings.empty) return;
    view.showTimings(this.#timings, (1000 * this.#info.hopSamples) / this.#info.sampleRateHz);
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
